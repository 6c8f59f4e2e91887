#include "cgroup.hpp"

#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

namespace caged::vmm::jail {
namespace {

using clock = std::chrono::steady_clock;

// 0 or the errno. Control files take one write.
int put(const std::string& path, const std::string& text) noexcept {
  unique_fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno;
}

std::string get(const std::string& path) {
  auto text = read_small_file(path);
  return text ? *text : std::string();
}

std::optional<std::uint64_t> number(const std::string& path) {
  const std::string text = get(path);
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  return std::stoull(text);
}

// The value of "name value" in a flat keyed file.
std::optional<std::uint64_t> keyed(const std::string& path, const std::string& name) {
  std::istringstream in(get(path));
  std::string key;
  std::uint64_t value = 0;
  while (in >> key >> value) {
    if (key == name) return value;
  }
  return std::nullopt;
}

struct hierarchy {
  std::string mount, root;
  std::set<std::string> controllers;
  bool v2 = false;
};

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string piece; std::getline(in, piece, by);) out.push_back(piece);
  return out;
}

// /proc/self/mountinfo: "id parent major:minor root mountpoint options … - type source superoptions".
std::vector<hierarchy> mounted_hierarchies() {
  std::vector<hierarchy> out;
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto left = split(line.substr(0, dash), ' ');
    const auto right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3 || (right[0] != "cgroup" && right[0] != "cgroup2")) continue;
    hierarchy h{left[4], left[3], {}, right[0] == "cgroup2"};
    const auto names = h.v2 ? split(get(h.mount + "/cgroup.controllers"), ' ') : split(right[2], ',');
    for (auto name : names) {
      while (!name.empty() && name.back() == '\n') name.pop_back();
      if (!name.empty()) h.controllers.insert(name);
    }
    out.push_back(std::move(h));
  }
  return out;
}

// This process's group in the hierarchy, relative to its mount.
std::string own_group(const hierarchy& h) {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    bool mine = h.v2 && names.empty();
    for (const auto& name : split(names, ',')) mine |= !h.v2 && h.controllers.count(name) != 0;
    if (!mine) continue;
    if (h.root != "/" && path.rfind(h.root, 0) == 0) path.erase(0, h.root.size());
    return path == "/" ? "" : path;
  }
  return "";
}

constexpr const char* host_leaf = "/caged-host";

// Version 2 gives controllers only to groups without processes of their own: the host moves into a leaf.
int enable_controllers(const std::string& group, const std::set<std::string>& wanted) {
  int result = 0;
  for (const auto& name : wanted) {
    int err = put(group + "/cgroup.subtree_control", "+" + name);
    if (err == EBUSY) {
      (void)::mkdir((group + host_leaf).c_str(), 0755);
      for (const auto& pid : split(get(group + "/cgroup.procs"), '\n')) put(group + host_leaf + "/cgroup.procs", pid);
      err = put(group + "/cgroup.subtree_control", "+" + name);
    }
    if (err != 0) result = err;
  }
  return result;
}

std::string ensure_place(const hierarchy& h, const std::string& parent, const std::string& folder,
                         const std::set<std::string>& wanted) {
  if (h.v2 && !wanted.empty()) {
    const int err = enable_controllers(parent, wanted);
    if (err != 0) return "cannot pass controllers on in " + parent + ": " + std::strerror(err);
  }
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
    return "cannot make " + folder + ": " + std::strerror(errno);
  if (::access(folder.c_str(), W_OK) != 0) return "cannot write " + folder + ": " + std::strerror(errno);
  if (h.v2 && !wanted.empty()) {
    const int err = enable_controllers(folder, wanted);
    if (err != 0) return "cannot pass controllers on in " + folder + ": " + std::strerror(err);
  }
  return {};
}

const std::set<std::string>& wanted_controllers() {
  static const std::set<std::string> names{"memory", "cpu", "cpuacct", "pids", "freezer"};
  return names;
}

struct setting {
  std::string wall, controller, file, value;
  bool optional = false;  // a file that only some kernels have
};

std::vector<setting> settings_for(const box_limits& l, bool memory_v2, bool cpu_v2) {
  const std::string memory = std::to_string(l.memory_bytes), pids = std::to_string(l.processes);
  const std::string quota = std::to_string(std::max<std::uint64_t>(1000, static_cast<std::uint64_t>(l.cpus * 100000)));
  std::vector<setting> out;
  if (memory_v2) {
    out.push_back({"cgroup.memory", "memory", "memory.max", memory});
    out.push_back({"cgroup.memory", "memory", "memory.swap.max", "0", true});
  } else {
    out.push_back({"cgroup.memory", "memory", "memory.limit_in_bytes", memory});
    out.push_back({"cgroup.memory", "memory", "memory.memsw.limit_in_bytes", memory, true});
    out.push_back({"cgroup.memory", "memory", "memory.swappiness", "0", true});
  }
  if (cpu_v2) {
    out.push_back({"cgroup.cpu", "cpu", "cpu.max", quota + " 100000"});
  } else {
    out.push_back({"cgroup.cpu", "cpu", "cpu.cfs_period_us", "100000"});
    out.push_back({"cgroup.cpu", "cpu", "cpu.cfs_quota_us", quota});
  }
  out.push_back({"cgroup.pids", "pids", "pids.max", pids});
  return out;
}

error missing_wall(const std::string& wall, const std::string& why) {
  return fail(errc::unsupported, "wall_missing", "the wall " + wall + " cannot be built on this machine: " + why,
              "Run as root or in a delegated cgroup (systemd: Delegate=yes), or accept its absence: "
              "plugins.vmm.jail.accept_missing: [\"" +
                  wall + "\"].");
}

std::vector<pid_t> processes_in(const std::string& folder) {
  std::vector<pid_t> out;
  for (const auto& line : split(get(folder + "/cgroup.procs"), '\n')) {
    if (!line.empty()) out.push_back(static_cast<pid_t>(std::stol(line)));
  }
  return out;
}

// Safe against reuse of the number: the descriptor is opened first, membership is looked at again, then the signal goes
// to what the descriptor stands for.
void kill_members(const std::string& folder) {
  for (const pid_t pid : processes_in(folder)) {
    if (pid <= 1) continue;
    unique_fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process) continue;
    const auto now = processes_in(folder);
    if (std::find(now.begin(), now.end(), pid) == now.end()) continue;
    ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  }
}

}  // namespace

cgroup_tree cgroup_tree::find(const std::string& root, const std::string& instance) {
  cgroup_tree tree;
  for (const auto& h : mounted_hierarchies()) {
    std::set<std::string> usable;
    for (const auto& name : h.controllers) {
      if (wanted_controllers().count(name) != 0) usable.insert(name);
    }
    if (usable.empty() && !h.v2) continue;
    std::string group = root.empty() ? own_group(h) : root;
    const std::string leaf = host_leaf;
    if (group.size() >= leaf.size() && group.compare(group.size() - leaf.size(), leaf.size(), leaf) == 0)
      group.erase(group.size() - leaf.size());
    place p{h.mount + group + "/" + instance, h.v2, {}};
    p.refusal = ensure_place(h, h.mount + group, p.folder, usable);
    for (const auto& name : usable) tree.places_.emplace(name, p);
    if (h.v2) tree.places_.emplace("unified", p);
  }
  return tree;
}

result<box_cgroup> cgroup_tree::make(const std::string& id, const box_limits& limits,
                                     const std::vector<std::string>& accepted,
                                     std::vector<std::string>& missing) const {
  box_cgroup out;
  const auto accept = [&](const std::string& wall) {
    if (std::find(accepted.begin(), accepted.end(), wall) == accepted.end()) return false;
    if (std::find(missing.begin(), missing.end(), wall) == missing.end()) missing.push_back(wall);
    return true;
  };
  for (const auto& [controller, p] : places_) {
    if (!p.refusal.empty()) continue;
    const std::string folder = p.folder + "/" + id;
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) continue;  // reported below, by the limit that needs it
    out.folders.emplace(controller, folder);
  }
  const auto v2 = [this](const char* name) {
    const auto found = places_.find(name);
    return found != places_.end() && found->second.v2;
  };
  for (const auto& s : settings_for(limits, v2("memory"), v2("cpu"))) {
    const auto folder = out.folders.find(s.controller);
    std::string why;
    if (folder == out.folders.end()) {
      const auto found = places_.find(s.controller);
      why = found == places_.end() ? "no cgroup hierarchy with the controller " + s.controller + " is mounted"
                                   : found->second.refusal;
    } else if (const int err = put(folder->second + "/" + s.file, s.value);
               err != 0 && !(s.optional && (err == ENOENT || err == EACCES || err == EOPNOTSUPP))) {
      why = folder->second + "/" + s.file + ": " + std::strerror(err);
    }
    if (why.empty() || accept(s.wall)) continue;
    (void)out.remove(std::chrono::milliseconds(500));
    return missing_wall(s.wall, why);
  }
  return out;
}

std::map<std::string, box_cgroup> cgroup_tree::list() const {
  std::map<std::string, box_cgroup> out;
  for (const auto& [controller, p] : places_) {
    std::unique_ptr<DIR, int (*)(DIR*)> d(::opendir(p.folder.c_str()), ::closedir);
    if (!d) continue;
    while (const dirent* e = ::readdir(d.get())) {
      if (e->d_type == DT_DIR && e->d_name[0] != '.')
        out[e->d_name].folders.emplace(controller, p.folder + "/" + e->d_name);
    }
  }
  return out;
}

void cgroup_tree::remove_empty_places() const {
  for (const auto& [controller, p] : places_) (void)::rmdir(p.folder.c_str());
}

result<void> box_cgroup::add(pid_t pid) const {
  std::set<std::string> done;
  for (const auto& [controller, folder] : folders) {
    if (!done.insert(folder).second) continue;
    const int err = put(folder + "/cgroup.procs", std::to_string(pid));
    if (err != 0) return errno_error(err, "put the box into " + folder);
  }
  return {};
}

void box_cgroup::kill_all() const {
  const auto unified = folders.find("unified");
  if (unified != folders.end() && put(unified->second + "/cgroup.kill", "1") == 0) {
    (void)thaw();
    return;
  }
  std::set<std::string> each;
  for (const auto& [controller, folder] : folders) each.insert(folder);
  for (const auto& folder : each) kill_members(folder);
  (void)thaw();  // version 1 delivers the signal when the task runs again
}

bool box_cgroup::can_freeze() const { return folders.count("unified") != 0 || folders.count("freezer") != 0; }

result<void> box_cgroup::freeze(std::chrono::milliseconds deadline) const {
  const auto until = clock::now() + deadline;
  const auto unified = folders.find("unified"), freezer = folders.find("freezer");
  if (!can_freeze())
    return fail(errc::unsupported, "wall_missing", "no cgroup freezer is available to this host",
                "Run as root or in a delegated cgroup.");
  const bool v2 = unified != folders.end();
  const std::string folder = v2 ? unified->second : freezer->second;
  const int err = v2 ? put(folder + "/cgroup.freeze", "1") : put(folder + "/freezer.state", "FROZEN");
  if (err != 0) return errno_error(err, "freeze " + folder);
  for (;;) {
    const bool frozen = v2 ? keyed(folder + "/cgroup.events", "frozen").value_or(0) == 1
                           : get(folder + "/freezer.state").rfind("FROZEN", 0) == 0;
    if (frozen) return {};
    if (clock::now() > until) {
      (void)thaw();
      return fail(errc::deadline_exceeded, "freeze_timeout", "the sandbox's processes did not freeze in time",
                  "Try again; a process may be in uninterruptible I/O.");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

result<void> box_cgroup::thaw() const {
  const auto unified = folders.find("unified"), freezer = folders.find("freezer");
  int err = 0;
  if (unified != folders.end()) err = put(unified->second + "/cgroup.freeze", "0");
  if (freezer != folders.end()) {
    const int e = put(freezer->second + "/freezer.state", "THAWED");
    if (unified == folders.end()) err = e;
  }
  if (err != 0) return errno_error(err, "thaw the sandbox");
  return {};
}

void box_cgroup::read_usage(box_usage& out) const {
  const auto file = [this](const char* controller, const char* name) {
    const auto found = folders.find(controller);
    return found == folders.end() ? std::string() : found->second + "/" + name;
  };
  using us = std::chrono::microseconds;
  if (auto v = keyed(file("unified", "cpu.stat"), "user_usec")) out.cpu_user = us(*v);
  if (auto v = keyed(file("unified", "cpu.stat"), "system_usec")) out.cpu_system = us(*v);
  if (auto v = number(file("cpuacct", "cpuacct.usage_user"))) out.cpu_user = us(*v / 1000);
  if (auto v = number(file("cpuacct", "cpuacct.usage_sys"))) out.cpu_system = us(*v / 1000);
  for (const char* name : {"memory.current", "memory.usage_in_bytes"}) {
    if (auto v = number(file("memory", name))) out.memory_bytes = v;
  }
  for (const char* name : {"memory.peak", "memory.max_usage_in_bytes"}) {
    if (auto v = number(file("memory", name))) out.memory_peak_bytes = v;
  }
  if (auto v = number(file("pids", "pids.current"))) out.tasks = v;
  if (auto v = number(file("pids", "pids.peak"))) out.tasks_peak = v;
  if (auto v = oom_kills()) out.oom_kills = v;
}

std::optional<std::chrono::microseconds> box_cgroup::cpu() const {
  if (const auto v1 = folders.find("cpuacct"); v1 != folders.end()) {
    if (auto v = number(v1->second + "/cpuacct.usage")) return std::chrono::microseconds(*v / 1000);
  }
  if (const auto v2 = folders.find("unified"); v2 != folders.end()) {
    if (auto v = keyed(v2->second + "/cpu.stat", "usage_usec")) return std::chrono::microseconds(*v);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> box_cgroup::oom_kills() const {
  const auto memory = folders.find("memory");
  if (memory == folders.end()) return std::nullopt;
  if (auto v = keyed(memory->second + "/memory.events", "oom_kill")) return v;
  return keyed(memory->second + "/memory.oom_control", "oom_kill");
}

std::optional<std::uint64_t> box_cgroup::refused_forks() const {
  const auto pids = folders.find("pids");
  if (pids == folders.end()) return std::nullopt;
  return keyed(pids->second + "/pids.events", "max");
}

result<void> box_cgroup::remove(std::chrono::milliseconds deadline) const {
  const auto until = clock::now() + deadline;
  std::set<std::string> each;
  for (const auto& [controller, folder] : folders) each.insert(folder);
  for (const auto& folder : each) {
    while (::rmdir(folder.c_str()) != 0 && errno != ENOENT) {
      if (errno != EBUSY || clock::now() > until) return errno_error(errno, "remove the cgroup " + folder);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  return {};
}

box_cgroup box_cgroup::from_json(const json& value) {
  box_cgroup out;
  if (!value.is_object()) return out;
  for (const auto& [controller, folder] : value.items()) {
    if (folder.is_string()) out.folders.emplace(controller, folder.get<std::string>());
  }
  return out;
}

}  // namespace caged::vmm::jail
