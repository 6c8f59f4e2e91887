#include "core/plugin/plugin_host.hpp"

#include <map>
#include <shared_mutex>

#include "core/plugin/instance.hpp"
#include "core/plugin/library.hpp"

namespace caged::plugins {
namespace {

namespace fs = std::filesystem;

constexpr std::pair<stage, std::string_view> stage_names[] = {
    {stage::unset, "unset"},     {stage::found, "found"},           {stage::admitted, "admitted"},
    {stage::mapped, "mapped"},   {stage::configured, "configured"}, {stage::open, "open"},
    {stage::serving, "serving"}, {stage::drained, "drained"},       {stage::closed, "closed"},
    {stage::refused, "refused"}};

}  // namespace

std::string_view to_string(stage s) noexcept {
  for (const auto& [value, name] : stage_names)
    if (value == s) return name;
  return "unset";
}

json to_json(const plugin_status& s) {
  json out = {{"kind", s.kind},
              {"name", s.name},
              {"version", s.version},
              {"summary", s.summary},
              {"path", s.path.string()},
              {"offers", s.offers},
              {"needs", s.needs},
              {"event_schema", s.event_schema},
              {"fingerprint", s.fingerprint},
              {"state", std::string(to_string(s.at))}};
  if (s.failure)
    out["error"] = {{"reason", s.failure->reason}, {"message", s.failure->message}, {"action", s.failure->action}};
  return out;
}

// The lists, guarded; steps run without the lock, so that plugins may ask for services meanwhile.
class plugin_host::registry : public service_finder {
 public:
  explicit registry(host_options o) : options(std::move(o)) {}

  void* find(std::string_view name) const noexcept override {
    std::string_view interface = name, plugin_name;
    if (const auto slash = name.find('/'); slash != std::string_view::npos) {
      interface = name.substr(0, slash);
      plugin_name = name.substr(slash + 1);
    }
    std::vector<std::shared_ptr<instance>> plugins;
    {
      const std::shared_lock lock(mutex);
      if (plugin_name.empty())
        if (const auto it = services.find(interface); it != services.end()) return it->second;
      plugins = alive;
    }
    // Without the lock: a plugin asked for an extension may ask the host in turn.
    for (const auto& one : plugins) {
      if (!plugin_name.empty() && one->name() != plugin_name) continue;
      if (void* found = one->interface(interface)) return found;
    }
    return nullptr;
  }

  std::vector<std::shared_ptr<instance>> in_order() const {
    std::vector<std::shared_ptr<instance>> out;
    {
      const std::shared_lock lock(mutex);
      out = alive;
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const auto& a, const auto& b) { return a->kind().order < b->kind().order; });
    return out;
  }

  void note_refusal(plugin_status s, const error& e) {
    s.at = stage::refused;
    s.failure = e;
    const std::unique_lock lock(mutex);
    refused.push_back(std::move(s));
  }

  bool has(const std::string& id) const {
    const std::shared_lock lock(mutex);
    return std::any_of(alive.begin(), alive.end(), [&](const auto& one) { return one->id() == id; });
  }

  // Moves what a step refused to the other list.
  void sweep() {
    const std::unique_lock lock(mutex);
    for (const auto& one : alive)
      if (one->at() == stage::refused) refused.push_back(one->status());
    std::erase_if(alive, [](const auto& one) { return one->at() == stage::refused; });
  }

  host_options options;
  mutable std::shared_mutex mutex;
  std::map<std::string, void*, std::less<>> services;
  std::vector<std::shared_ptr<instance>> alive;
  std::vector<plugin_status> refused;

  result<void> take(manifest m, fs::path file, json config, std::weak_ptr<const service_finder> self) {
    plugin_status status = m.status;
    status.path = file;
    {
      // A closed plugin may be loaded again.
      const std::unique_lock lock(mutex);
      std::erase_if(alive, [&](const auto& one) { return one->id() == m.id() && one->at() == stage::closed; });
    }
    if (has(m.id())) {
      const error e =
          fail(errc::conflict, "plugin_name_taken",
               "plugin " + (file.empty() ? m.id() : file.string()) + ": a plugin " + m.id() + " is loaded already",
               "Load only one of the two, or give one another name.");
      note_refusal(std::move(status), e);
      return e;
    }
    auto made = std::make_shared<instance>(std::move(m), std::move(file), options, std::move(self));
    if (auto created = made->create(std::move(config)); created.has_error()) {
      note_refusal(made->status(), created.error());
      return created;
    }
    const std::unique_lock lock(mutex);
    alive.push_back(std::move(made));
    return {};
  }

  result<void> each(std::vector<std::shared_ptr<instance>> order, result<void> (instance::*step)()) {
    std::optional<error> first;
    int others = 0;
    for (const auto& one : order) {
      auto answer = (one.get()->*step)();
      if (answer.has_value()) continue;
      if (first)
        ++others;
      else
        first = answer.error();
    }
    sweep();
    if (!first) return {};
    if (others > 0) first->message += " (and " + std::to_string(others) + " more)";
    return std::move(*first);
  }
};

plugin_host::plugin_host(host_options options) : registry_(std::make_shared<registry>(std::move(options))) {}

plugin_host::~plugin_host() { (void)close_all(); }

void plugin_host::add_service(std::string name, void* service) {
  const std::unique_lock lock(registry_->mutex);
  registry_->services[std::move(name)] = service;
}

result<std::vector<fs::path>> plugin_host::discover(const fs::path& folder) const {
  auto admitted = admit_folder(folder);
  if (admitted.has_error()) return admitted.error();
  std::vector<fs::path> out;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(*admitted, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("caged-", 0) == 0 && entry.path().extension() == ".so") out.push_back(entry.path());
  }
  if (ec) return errno_error(ec.value(), "read the plugin folder " + admitted->string());
  std::sort(out.begin(), out.end());
  return out;
}

result<plugin_status> plugin_host::inspect(const fs::path& file) const {
  auto admitted = admit_file(file);
  if (admitted.has_error()) return admitted.error();
  auto descriptor = map_file(*admitted);
  if (descriptor.has_error()) return descriptor.error();
  auto m = read_manifest(**descriptor, admitted->string());
  if (m.has_error()) return m.error();
  plugin_status s = std::move(m->status);
  s.path = std::move(*admitted);
  s.at = stage::mapped;
  return s;
}

result<void> plugin_host::load(const fs::path& file, json config) {
  plugin_status unread;
  unread.path = file;
  const auto refuse = [&](const error& e) {
    if (registry_->options.log) registry_->options.log(log_level::error, "plugins", describe(e));
    registry_->note_refusal(unread, e);
    return e;
  };
  auto admitted = admit_file(file);
  if (admitted.has_error()) return refuse(admitted.error());
  auto descriptor = map_file(*admitted);
  if (descriptor.has_error()) return refuse(descriptor.error());
  auto m = read_manifest(**descriptor, admitted->string());
  if (m.has_error()) return refuse(m.error());
  return registry_->take(std::move(*m), std::move(*admitted), std::move(config), registry_);
}

result<void> plugin_host::adopt(const caged_plugin_descriptor& descriptor, json config) {
  auto m = read_manifest(descriptor, "built into the program");
  if (m.has_error()) {
    registry_->note_refusal({}, m.error());
    return m.error();
  }
  return registry_->take(std::move(*m), {}, std::move(config), registry_);
}

result<void> plugin_host::open_all() { return registry_->each(registry_->in_order(), &instance::open); }

result<void> plugin_host::serve_all() { return registry_->each(registry_->in_order(), &instance::serve); }

result<void> plugin_host::drain_all() {
  auto order = registry_->in_order();
  std::reverse(order.begin(), order.end());
  return registry_->each(std::move(order), &instance::drain);
}

result<void> plugin_host::close_all() {
  auto order = registry_->in_order();
  std::reverse(order.begin(), order.end());
  return registry_->each(std::move(order), &instance::close);
}

std::vector<plugin_status> plugin_host::list() const {
  const std::shared_lock lock(registry_->mutex);
  std::vector<plugin_status> out;
  for (const auto& one : registry_->alive) out.push_back(one->status());
  out.insert(out.end(), registry_->refused.begin(), registry_->refused.end());
  return out;
}

void* plugin_host::find_service(std::string_view name) const noexcept { return registry_->find(name); }

}  // namespace caged::plugins
