#include "core/sandbox/manager.hpp"

#include <caged/random.hpp>
#include <caged/vmm_standing.hpp>

#include "core/base/time.hpp"
#include "core/runtime/deadline.hpp"
#include "core/sandbox/exec.hpp"

namespace caged::sandbox {
namespace {

constexpr auto destroy_limit = std::chrono::seconds(30);

}  // namespace

manager::manager(parts p)
    : parts_(std::move(p)),
      work_(parts_.executor,
            [this](std::string_view name, std::string_view what) {
              parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
            }),
      templates_({parts_.executor, parts_.blocking, parts_.templates, parts_.backends, parts_.log}) {}

manager::~manager() = default;

task<void> manager::start() {
  std::error_code ignored;
  std::filesystem::remove_all(parts_.staging, ignored);  // clones cut short by a crash
  std::filesystem::create_directories(parts_.staging, ignored);
  if (auto ready = co_await templates_.start(); !ready) co_return ready.error();
  if (auto listed = co_await list_images(); !listed) co_return listed.error();
  if (auto adopted = co_await adopt_all(); !adopted) co_return adopted.error();
  if (auto swept = co_await adopt_snapshots(); !swept) co_return swept.error();
  if (auto swept = co_await templates_.sweep(); !swept)
    parts_.log(log_level::warn, "old templates are kept: " + describe(swept.error()));
  work_.spawn("sandbox clock", tick());
  co_return result<void>{};
}

task<void> manager::list_images() {
  for (const auto& [name, backend] : parts_.backends) {
    auto images = co_await backend->images();
    if (!images) co_return images.error();
    if (backend->extension<vmm_templates>() != nullptr)
      for (const auto& built : templates_.names())
        if (std::find(images->begin(), images->end(), built) == images->end()) images->push_back(built);
    images_[name] = std::move(*images);
  }
  co_return result<void>{};
}

std::vector<std::string> manager::images() const {
  std::vector<std::string> all;
  for (const auto& name : backend_names())
    for (const auto& image : images_.at(name))
      if (std::find(all.begin(), all.end(), image) == all.end()) all.push_back(image);
  return all;
}

asio::awaitable<void> manager::stop() {
  work_.cancel();
  co_await work_.join();
  co_await templates_.stop();
  for (const auto& l : all())
    if (l->rec.status == state::running) (void)co_await write_down(l);
  for (auto& [id, l] : sandboxes_) drop_client(*l);
}

void manager::drop_client(live& l) {
  if (auto client = std::exchange(l.client, nullptr)) client->close();
}

std::vector<std::string> manager::backend_names() const {
  std::vector<std::string> names;
  for (const auto& [name, backend] : parts_.backends) names.push_back(name);
  const auto standing = [this](const std::string& name) {
    auto* own = parts_.backends.at(name)->extension<vmm_standing>();
    return own == nullptr ? 0 : own->standing();
  };
  std::stable_sort(names.begin(), names.end(),
                   [&](const std::string& a, const std::string& b) { return standing(a) > standing(b); });
  return names;
}

std::size_t manager::alive() const noexcept {
  std::size_t count = 0;
  for (const auto& [id, l] : sandboxes_)
    count += l->rec.status == state::pending || l->rec.status == state::running || l->rec.status == state::paused;
  return count;
}

result<vmm_backend*> manager::backend_of(const record& r) const {
  const auto found = parts_.backends.find(r.backend);
  if (found != parts_.backends.end()) return found->second;
  return fail(errc::unavailable, "backend_missing",
              "sandbox " + r.id + " belongs to the backend \"" + r.backend + "\", which is not loaded",
              "Start the server with that plugin: see `caged plugins`.");
}

result<std::shared_ptr<live>> manager::find(std::string_view id) const {
  const auto found = sandboxes_.find(std::string(id));
  if (found != sandboxes_.end()) return found->second;
  return fail(errc::not_found, "sandbox_not_found", "there is no sandbox \"" + std::string(id) + "\"",
              "List them with `caged ls`.", "/id");
}

task<std::shared_ptr<live>> manager::recall(std::string id) {
  auto found = find(id);
  if (found) co_return *found;
  const bool well_formed = !id.empty() && id.size() <= 64;
  if (!well_formed) co_return found.error();
  auto stored = co_await parts_.records->get("sandbox", id);
  if (!stored) co_return stored.error();
  if (!*stored) co_return found.error();
  auto l = std::make_shared<live>(parts_.executor);
  l->rec = from_stored((**stored).body);
  co_return l;
}

void manager::let_go(std::int64_t before_us) {
  std::erase_if(sandboxes_, [before_us](const auto& entry) {
    const live& l = *entry.second;
    return l.rec.status == state::destroyed && l.rec.stopped_us < before_us && l.calls == 0 && !l.session_change;
  });
}

std::vector<std::shared_ptr<live>> manager::all() const {
  std::vector<std::shared_ptr<live>> list;
  for (const auto& [id, l] : sandboxes_) list.push_back(l);
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
    return std::tie(a->rec.created_us, a->rec.id) < std::tie(b->rec.created_us, b->rec.id);
  });
  return list;
}

task<void> manager::append(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took,
                           std::vector<write> writes) {
  event e;
  e.session_id = l->rec.session_id;
  e.sandbox_id = l->rec.id;
  e.type = std::move(type);
  e.time_us = base::now_us();
  e.duration_us = took.count();
  e.data = std::move(fact);
  std::vector<event> events;
  events.push_back(std::move(e));
  auto done = co_await parts_.journal->append(std::move(events), std::move(writes));
  if (!done) {
    parts_.log(log_level::error, "journal refused a fact of " + l->rec.id + ": " + describe(done.error()));
    co_return done.error();
  }
  co_return result<void>{};
}

task<void> manager::save(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took) {
  std::vector<write> none;
  co_return co_await save_with(l, std::move(type), std::move(fact), took, std::move(none));
}

task<void> manager::save_with(std::shared_ptr<live> l, std::string type, json fact, std::chrono::microseconds took,
                              std::vector<write> writes) {
  write put;
  put.kind = "sandbox";
  put.id = l->rec.id;
  put.body = to_stored(l->rec);
  writes.push_back(std::move(put));
  const auto change = std::exchange(l->session_change, std::nullopt);
  if (change) writes.push_back(journal::sessions::put(*change));
  const auto rows = parts_.usage->take_unsaved(l->rec.id);
  for (const auto& row : rows) {
    write used;
    used.kind = "usage";
    used.id = row;
    used.body = meter::to_stored(parts_.usage->row(row));
    writes.push_back(std::move(used));
  }
  auto done = co_await append(l, std::move(type), std::move(fact), took, std::move(writes));
  if (!done) parts_.usage->unsaved(l->rec.id, rows);
  if (!done) co_return done.error();
  if (change) parts_.sessions->keep(*change);
  co_return result<void>{};
}

task<void> manager::note(std::shared_ptr<live> l, std::string type, json data, std::chrono::microseconds took) {
  std::vector<write> none;
  co_return co_await append(l, std::move(type), std::move(data), took, std::move(none));
}

task<void> manager::become(std::shared_ptr<live> l, state to, json fact) {
  record& r = l->rec;
  if (!may_become(r.status, to))
    co_return fail(errc::conflict, "wrong_state",
                   "sandbox " + r.id + " is " + std::string(to_string(r.status)) + " and cannot become " +
                       std::string(to_string(to)),
                   "See `caged status " + r.id + "`.");
  count_time(*l);
  const record before = r;
  const auto now = base::now_us();
  if (r.status == state::running) r.running_since_us = 0;
  if (to == state::running) {
    r.running_since_us = now;
    if (r.started_us == 0) r.started_us = now;
  }
  if (to == state::stopped || to == state::error || to == state::destroyed)
    if (r.stopped_us == 0) r.stopped_us = now;
  r.status = to;
  if (to == state::stopped || to == state::error || to == state::destroyed) {
    const auto* session = parts_.sessions->find(r.session_id);
    if (session && session->status == "active") {
      l->session_change = *session;
      l->session_change->status = to == state::error ? "failed" : "completed";
      l->session_change->ended_us = now;
    }
  }
  fact["from"] = to_string(before.status);
  fact["to"] = to_string(to);
  auto saved = co_await save(l, "lifecycle", std::move(fact));
  if (!saved && to != state::destroyed && to != state::error && to != state::stopped) {
    l->rec = before;  // nothing happened as far as anyone may know
    co_return saved.error();
  }
  l->changed.cancel();
  if (to != state::running && to != state::paused) {
    drop_client(*l);
    if (parts_.network != nullptr) parts_.network->close(r.id);
  }
  if (to == state::destroyed) parts_.journal->set_current_session(r.id, "");
  co_return result<void>{};
}

task<record> manager::create(create_request request) {
  if (alive() >= parts_.config->limits.sandboxes)
    co_return fail(errc::limit_exceeded, "too_many_sandboxes",
                   "there are already " + std::to_string(alive()) + " sandboxes, the most this server allows",
                   "Destroy some (`caged ls`, `caged destroy`), or raise limits.sandboxes in the configuration.");
  if (auto ok = co_await plan_permits(); !ok) co_return ok.error();
  auto l = std::make_shared<live>(parts_.executor);
  l->rec = std::move(request.wanted);
  l->from_snapshot = std::move(request.from_snapshot);
  l->granted = request.granted;
  do {
    l->rec.id = random_id("cage-", 12);
  } while (sandboxes_.contains(l->rec.id));
  if (l->rec.name.empty()) l->rec.name = l->rec.id;
  l->session_change = parts_.sessions->draft(l->rec.id);
  l->rec.session_id = l->session_change->id;
  l->rec.created_us = base::now_us();
  sandboxes_.emplace(l->rec.id, l);
  parts_.journal->set_current_session(l->rec.id, l->rec.session_id);  // for what backends see by themselves
  json fact{{"phase", "created"},
            {"template", l->rec.template_name},
            {"backend", l->rec.backend},
            {"network_mode", l->rec.network_mode}};
  if (!l->rec.repo.url.empty()) fact["repo"] = l->rec.repo.url;
  auto saved = co_await save(l, "lifecycle", std::move(fact));
  if (!saved) {
    sandboxes_.erase(l->rec.id);
    parts_.journal->set_current_session(l->rec.id, "");
    co_return saved.error();
  }
  work_.spawn("set-up of " + l->rec.id, set_up(l, std::move(request.repo_token)));
  co_return l->rec;
}

asio::awaitable<void> manager::wait_settled(std::string id, std::chrono::steady_clock::duration limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    const auto found = find(id);
    if (!found || (*found)->rec.status != state::pending) co_return;
    auto l = *found;
    // A timer of our own bounds the wait; the sandbox's shared timer wakes it early.
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer own(parts_.executor, end);
    auto outcome = co_await (own.async_wait(use_tuple) || l->changed.async_wait(use_tuple));
    if (outcome.index() == 0) co_return;
  }
}

task<void> manager::pause(std::string id) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status != state::running)
    co_return fail(
        errc::conflict, "wrong_state",
        "sandbox " + id + " is " + std::string(to_string(l->rec.status)) + "; only a running one can be paused",
        l->rec.status == state::paused ? "It is paused already." : "See `caged status " + id + "`.");
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  if (auto done = co_await (*backend)->pause(id); !done) co_return done.error();
  // A frozen agent sends no heartbeat: the connection would count as lost.
  drop_client(*l);
  json fact{{"phase", "paused"}};
  co_return co_await become(l, state::paused, std::move(fact));
}

task<void> manager::resume(std::string id) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status != state::paused)
    co_return fail(
        errc::conflict, "wrong_state",
        "sandbox " + id + " is " + std::string(to_string(l->rec.status)) + "; only a paused one can be resumed",
        "See `caged status " + id + "`.");
  if (const auto over = over_budgets(*l); !over.empty())
    co_return fail(errc::limit_exceeded, "budget_exhausted",
                   "sandbox " + id + " is paused because the budget of " + over.front().first + " is spent",
                   "Raise the budget; it resumes by itself then.");
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  if (auto done = co_await (*backend)->resume(id); !done) co_return done.error();
  l->last_used = std::chrono::steady_clock::now();
  l->rec.held.clear();
  json fact{{"phase", "resumed"}};
  co_return co_await become(l, state::running, std::move(fact));
}

task<void> manager::destroy(std::string id, std::string reason) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status == state::destroyed)
    co_return fail(errc::not_found, "sandbox_destroyed", "sandbox " + id + " is already destroyed",
                   "List what lives with `caged ls`.", "/id");
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  l->rec.ended_reason = reason;
  drop_client(*l);
  // Bound into a local first: gcc 12 destroys temporaries of an await expression twice.
  auto removal = (*backend)->destroy(id);
  auto done = co_await runtime::within<void>(destroy_limit, "destroying " + id, std::move(removal));
  if (!done && done.error().code != errc::not_found) {
    l->rec.ended_reason.clear();
    co_return done.error();
  }
  json fact{{"phase", "destroyed"}, {"reason", reason}};
  co_return co_await become(l, state::destroyed, std::move(fact));
}

task<record> manager::update(std::string id, json patch) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  if (l->rec.status == state::destroyed)
    co_return fail(errc::conflict, "sandbox_destroyed", "sandbox " + id + " is destroyed",
                   "Make a new one with `caged up`.");
  const record before = l->rec;
  if (patch.contains("name")) l->rec.name = patch["name"].get<std::string>();
  if (patch.contains("timeout"))
    l->rec.timeout_s =
        static_cast<std::int64_t>(std::min(patch["timeout"].get<double>(), parts_.config->limits.timeout.max));
  if (patch.contains("budget")) {
    l->rec.budget_micro =
        patch["budget"].is_null() ? 0 : static_cast<std::int64_t>(patch["budget"].get<double>() * 1e6 + 0.5);
    l->rec.budget_alert = 0;
  }
  if (patch.contains("on_budget")) l->rec.on_budget = patch["on_budget"].get<std::string>();
  if (auto ok = change_network(l->rec, patch); !ok) {
    l->rec = before;
    co_return ok.error();
  }
  if (patch.contains("metadata")) l->rec.metadata = patch["metadata"].get<std::map<std::string, std::string>>();
  json fact{{"phase", "updated"}, {"changed", patch}};
  if (auto saved = co_await save(l, "lifecycle", std::move(fact)); !saved) {
    l->rec = before;
    co_return saved.error();
  }
  // Kept first: a server that dies now comes back with the new rules.
  const bool settled = before.network_mode == l->rec.network_mode && before.allowlist == l->rec.allowlist &&
                       before.network_rate == l->rec.network_rate && before.network_bytes == l->rec.network_bytes;
  if (!settled && (l->rec.status == state::running || l->rec.status == state::paused))
    if (auto opened = co_await open_network(l); !opened) co_return opened.error();
  guard.release();
  if (!l->rec.held.empty() && over_budgets(*l).empty())
    if (auto resumed = co_await resume(id); !resumed) co_return resumed.error();
  co_return l->rec;
}

task<box_usage> manager::usage(std::string id) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto backend = backend_of((*found)->rec);
  if (!backend) co_return backend.error();
  co_return co_await (*backend)->usage(id);
}

task<std::vector<box_change>> manager::changes(std::string id) {
  auto found = find(id);
  if (!found) co_return found.error();
  auto l = *found;
  auto guard = co_await l->lifecycle.lock();
  auto backend = backend_of(l->rec);
  if (!backend) co_return backend.error();
  co_return co_await (*backend)->changes(id);
}

}  // namespace caged::sandbox
