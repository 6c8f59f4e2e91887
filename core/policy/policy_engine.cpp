#include <core/policy/policy_engine.hpp>

#include <core/policy/policy_set.hpp>
#include <mutex>

namespace caged::policy {

struct policy_engine::state {
  struct worker {
    mutable std::mutex mutex;
    std::unique_ptr<policy_set> set;
  };
  engine_options options;
  std::vector<std::unique_ptr<worker>> workers;
  mutable std::mutex reload_mutex;

  worker& of(std::string_view session_id) {
    if (workers.size() == 1) return *workers.front();
    return *workers[std::hash<std::string_view>{}(session_id) % workers.size()];
  }
};

policy_engine::policy_engine(std::unique_ptr<state> s) : state_(std::move(s)) {}
policy_engine::~policy_engine() = default;

result<std::unique_ptr<policy_engine>> policy_engine::load(engine_options options) {
  if (options.workers == 0 || options.workers > 64) {
    return fail(errc::invalid_argument, "invalid_workers",
                "found " + std::to_string(options.workers) + " policy workers", "use 1 to 64");
  }
  auto fresh = std::make_unique<state>();
  for (std::size_t i = 0; i < options.workers; ++i) {
    auto set = policy_set::load(options);
    if (!set) return set.error();
    fresh->workers.push_back(std::make_unique<state::worker>());
    fresh->workers.back()->set = std::move(*set);
  }
  fresh->options = std::move(options);
  return std::unique_ptr<policy_engine>(new policy_engine(std::move(fresh)));
}

verdict policy_engine::gate(const event& e, const json& session) {
  auto& worker = state_->of(e.session_id);
  const std::lock_guard lock(worker.mutex);
  return worker.set->evaluate(stage::gate, e, session);
}

verdict policy_engine::observe(const event& e, const json& session) {
  auto& worker = state_->of(e.session_id);
  const std::lock_guard lock(worker.mutex);
  return worker.set->evaluate(stage::fact, e, session);
}

json policy_engine::session_state(std::string_view session_id) {
  auto& worker = state_->of(session_id);
  const std::lock_guard lock(worker.mutex);
  return worker.set->session_state(std::string(session_id));
}

void policy_engine::restore_state(std::string_view session_id, const json& saved) {
  auto& worker = state_->of(session_id);
  const std::lock_guard lock(worker.mutex);
  worker.set->restore_state(std::string(session_id), saved);
}

void policy_engine::forget(std::string_view session_id) {
  auto& worker = state_->of(session_id);
  const std::lock_guard lock(worker.mutex);
  worker.set->forget(std::string(session_id));
}

result<void> policy_engine::reload() { return reload(options()); }

result<void> policy_engine::reload(engine_options options) {
  const std::lock_guard one_at_a_time(state_->reload_mutex);
  options.workers = state_->workers.size();  // sessions stay where they are
  std::vector<std::unique_ptr<policy_set>> fresh;
  for (std::size_t i = 0; i < options.workers; ++i) {
    auto set = policy_set::load(options);
    if (!set) return set.error();
    fresh.push_back(std::move(*set));
  }
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    auto& worker = *state_->workers[i];
    const std::lock_guard lock(worker.mutex);
    for (auto& [id, saved] : worker.set->all_states()) fresh[i]->restore_state(id, saved);
    worker.set.swap(fresh[i]);
  }
  state_->options = std::move(options);
  return {};
}

bool policy_engine::changed() const {
  const auto& worker = *state_->workers.front();
  const std::lock_guard lock(worker.mutex);
  for (const auto& file : worker.set->files()) {
    std::error_code ec;
    if (std::filesystem::last_write_time(file.path, ec) != file.time || ec) return true;
    if (std::filesystem::file_size(file.path, ec) != file.size || ec) return true;
  }
  return false;
}

std::vector<policy_info> policy_engine::policies() const {
  const auto& worker = *state_->workers.front();
  const std::lock_guard lock(worker.mutex);
  return worker.set->infos();
}

engine_options policy_engine::options() const {
  const std::lock_guard lock(state_->reload_mutex);
  return state_->options;
}

}  // namespace caged::policy
