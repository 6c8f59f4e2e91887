// Limits and counters of a box: control groups, version 2 and version 1, whichever of them this machine mounts.
#pragma once

#include <caged/json.hpp>
#include <caged/vmm.hpp>
#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace caged::vmm::jail {

struct box_limits {
  double cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t processes = 0;
};

// The groups of one box: controller → absolute folder ("memory", "cpu", "cpuacct", "pids", "freezer"; "unified" is the
// version 2 tree, with or without controllers). Copyable; survives the host as JSON.
class box_cgroup {
 public:
  std::map<std::string, std::string> folders;

  result<void> add(pid_t pid) const;
  // Kills every process in the groups, also those that the PID namespace no longer reaches. Frozen ones too.
  void kill_all() const;
  result<void> freeze(std::chrono::milliseconds deadline) const;
  result<void> thaw() const;
  bool can_freeze() const;
  void read_usage(box_usage& out) const;
  // Processor time alone, for who asks often.
  std::optional<std::chrono::microseconds> cpu() const;
  std::optional<std::uint64_t> oom_kills() const;
  std::optional<std::uint64_t> refused_forks() const;
  // Removes the groups; they are empty once the processes are gone, which the kernel may tell a little later.
  result<void> remove(std::chrono::milliseconds deadline) const;

  json to_json() const { return folders; }
  static box_cgroup from_json(const json& value);
};

// What this machine offers, found once.
class cgroup_tree {
 public:
  struct place {
    std::string folder;  // where boxes' groups are made
    bool v2 = false;
    std::string refusal;  // why it cannot be used; empty: it can
  };

  // `root`: the configured parent, relative to each hierarchy's mount; empty: this process's own group. `instance`
  // keeps two hosts on one machine apart.
  static cgroup_tree find(const std::string& root, const std::string& instance);

  // Makes the groups and sets the limits. A limit that cannot be set is an error that names its wall, unless the wall
  // is in `accepted`; it is then added to `missing`.
  result<box_cgroup> make(const std::string& id, const box_limits& limits, const std::vector<std::string>& accepted,
                          std::vector<std::string>& missing) const;

  // Groups below this instance's places, by box id: leftovers included.
  std::map<std::string, box_cgroup> list() const;
  // Removes the instance's own folders where no box is left.
  void remove_empty_places() const;

  const std::map<std::string, place>& places() const noexcept { return places_; }

 private:
  std::map<std::string, place> places_;  // by controller
};

}  // namespace caged::vmm::jail
