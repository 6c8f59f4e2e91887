#include "keeper.hpp"

#include <sys/stat.h>
#include <caged/random.hpp>
#include <fstream>
#include <thread>

namespace caged::vmm::docker {
namespace {

error gone(const std::string& id) {
  return fail(errc::not_found, "no_box", "the docker backend has no box \"" + id + "\"", "List sandboxes.");
}

probe wall(const json& info, const char* name, const char* needs, const char* key, const char* remedy) {
  const bool there = info.value(key, false);
  return {name, needs, there, true, std::string("the engine says ") + (there ? "yes" : "no"), remedy};
}

bool has_option(const json& info, std::string_view word) {
  const auto it = info.find("SecurityOptions");
  if (it == info.end() || !it->is_array()) return false;
  for (const auto& o : *it)
    if (o.is_string() && o.get<std::string>().find(word) != std::string::npos) return true;
  return false;
}

}  // namespace

keeper::keeper(settings options, host& from) : options_(std::move(options)), host_(from), engine_(options_.socket) {}

result<void> keeper::open() {
  std::error_code ec;
  std::filesystem::create_directories(options_.data / "boxes", ec);
  if (ec) return errno_error(ec.value(), "make " + (options_.data / "boxes").string());
  // The socket of every agent lies below it.
  if (::chmod(options_.data.c_str(), 0700) != 0) return errno_error(errno, "guard " + options_.data.string());
  const auto file = options_.data / "owner";
  if (std::ifstream in(file); in) std::getline(in, owner_);
  if (owner_.size() == 20) return {};
  owner_ = random_id("", 20);
  std::ofstream out(file, std::ios::trunc);
  out << owner_ << "\n";
  out.close();
  if (!out) return fail(errc::internal, "write_failed", "cannot write " + file.string(), "Check the data folder.");
  return {};
}

result<std::shared_ptr<box>> keeper::find(const std::string& id) {
  const std::lock_guard lock(guard_);
  const auto found = live_.find(id);
  if (found == live_.end()) return gone(id);
  return found->second;
}

result<std::string> keeper::container_for(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  const std::lock_guard lock((*b)->guard);
  return (*b)->container;
}

result<json> keeper::inspect(const std::string& container) const {
  return engine_.call("GET", "/containers/" + container + "/json");
}

result<owned_fd> keeper::try_connect(const std::string& id) {
  if (auto b = find(id); !b) return b.error();
  auto made = connect_at(folder(id), "agent.sock");
  if (made) return made;
  return fail(errc::unavailable, "sandbox_lost",
              "the agent of the box \"" + id + "\" does not listen any more: " + made.error().message,
              "Make a new sandbox.");
}

result<void> keeper::pause(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  const std::string container = *container_for(id);
  if (auto done = engine_.call("POST", "/containers/" + container + "/pause"); !done) return done.error();
  const std::lock_guard lock((*b)->guard);
  (*b)->paused = true;
  return {};
}

result<void> keeper::resume(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  const std::string container = *container_for(id);
  if (auto done = engine_.call("POST", "/containers/" + container + "/unpause"); !done) return done.error();
  const std::lock_guard lock((*b)->guard);
  (*b)->paused = false;
  return {};
}

result<box_usage> keeper::usage(const std::string& id) {
  auto container = container_for(id);
  if (!container) return container.error();
  auto stats = engine_.call("GET", "/containers/" + *container + "/stats?stream=false&one-shot=true");
  if (!stats) return stats.error();
  box_usage out;
  const auto number = [&](const char* pointer) -> std::optional<std::uint64_t> {
    const json::json_pointer at(pointer);
    if (!stats->contains(at) || !stats->at(at).is_number_unsigned()) return std::nullopt;
    return stats->at(at).get<std::uint64_t>();
  };
  const auto micro = [&](const char* pointer) -> std::optional<std::chrono::microseconds> {
    const auto n = number(pointer);
    if (!n) return std::nullopt;
    return std::chrono::microseconds(*n / 1000);
  };
  out.cpu_user = micro("/cpu_stats/cpu_usage/usage_in_usermode");
  out.cpu_system = micro("/cpu_stats/cpu_usage/usage_in_kernelmode");
  out.memory_bytes = number("/memory_stats/usage");
  out.memory_peak_bytes = number("/memory_stats/max_usage");
  out.tasks = number("/pids_stats/current");
  return out;
}

keeper::watch keeper::look(box& b, std::int64_t pid) {
  const std::lock_guard lock(b.guard);
  return !b.destroyed && (b.replacing || b.pid != pid) ? watch::replaced : watch::ended;
}

box_end keeper::end_of(box& b) {
  std::string container;
  {
    const std::lock_guard lock(b.guard);
    if (b.destroyed) return {"destroyed", 0, false};
    container = b.container;
  }
  // The process is gone; the engine, which waited for it, may need a moment to write its status down.
  for (int i = 0; i < 50; ++i) {
    auto seen = inspect(container);
    if (!seen) break;
    const json state = seen->value("State", json::object());
    if (!state.value("Running", false)) {
      if (state.value("OOMKilled", false)) return {"out_of_memory", 9, true};
      const int code = state.value("ExitCode", -1);
      if (code < 0) break;
      // 128 + n is how engines write "killed by signal n".
      if (code > 128) return {"killed", code - 128, true};
      return {"exited", code << 8, true};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::lock_guard lock(b.guard);
  return b.destroyed ? box_end{"destroyed", 0, false} : box_end{"lost", 0, false};
}

result<std::vector<std::string>> keeper::images() {
  std::vector<std::string> out;
  for (const auto& [name, path] : options_.templates) out.push_back(name);
  auto rows = engine_.call("GET", "/images/json");
  if (!rows) return out;  // no engine: no images; `caged doctor` tells why
  for (const auto& row : *rows) {
    const auto tags = row.find("RepoTags");
    if (tags == row.end() || !tags->is_array()) continue;
    for (const auto& tag : *tags) {
      std::string name = tag.get<std::string>();
      if (name.starts_with("caged-") || name == "<none>:<none>") continue;
      if (name.ends_with(":latest")) name.resize(name.size() - 7);
      out.push_back(std::move(name));
    }
  }
  return out;
}

result<std::vector<probe>> keeper::probe_machine() {
  std::vector<probe> out;
  auto info = engine_.call("GET", "/info");
  probe there{"engine",
              "a Docker or Podman engine on this machine",
              info.has_value(),
              true,
              {},
              "Install docker.io and start it, or set plugins.vmm.docker.socket to the engine's."};
  if (!info) {
    there.found = info.error().message;
    out.push_back(std::move(there));
    return out;
  }
  there.found = info->value("Name", "") + ", version " + info->value("ServerVersion", "unknown") + ", " +
                info->value("Driver", "unknown") + ", at " + options_.socket;
  out.push_back(std::move(there));
  constexpr const char* cgroups =
      "Let the engine use this cgroup controller, or accept its absence: "
      "plugins.vmm.docker.accept_missing.";
  out.push_back(wall(*info, "cgroup.memory", "limits of memory", "MemoryLimit", cgroups));
  out.push_back(wall(*info, "cgroup.cpu", "limits of processor time", "CpuCfsQuota", cgroups));
  out.push_back(wall(*info, "cgroup.pids", "limits of processes", "PidsLimit", cgroups));
  const auto option = [&](const char* name, const char* word, const char* needs, const char* remedy) {
    const bool on = has_option(*info, word);
    out.push_back(
        {name, needs, on, std::string(name) == "seccomp", on ? "on" : "the engine does not offer it", remedy});
  };
  option("seccomp", "name=seccomp", "a system call filter", "Use an engine built with seccomp.");
  option("apparmor", "name=apparmor", "AppArmor profiles of the engine", "Boot with AppArmor enabled.");
  option("userns", has_option(*info, "rootless") ? "rootless" : "name=userns", "root inside is nobody outside",
         "Start the engine with --userns-remap=default, or rootless.");
  return out;
}

box_info describe_box(box& b) {
  const std::lock_guard lock(b.guard);
  box_info info;
  info.id = b.id;
  info.state = b.paused ? box_state::paused : box_state::running;
  info.pid = b.pid;
  info.walls = b.walls;
  info.missing = b.missing;
  info.detail = {{"backend", "docker"}, {"container", b.container}, {"image", b.spec.image}};
  return info;
}

}  // namespace caged::vmm::docker
