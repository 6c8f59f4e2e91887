// One box as the host knows it, and its record on disk.
#pragma once

#include "cgroup.hpp"
#include "diff.hpp"
#include "process.hpp"

#include <caged/vmm.hpp>
#include <mutex>

namespace caged::vmm::jail {

// box.json. `making` is written before anything is made: whatever a dead host left in that phase is swept.
struct box_record {
  std::string id;
  std::string phase = "making";  // making, ahead, running, paused
  process_identity process;
  int slot = -1;                 // which range of user ids; -1: an ordinary user's box
  box_cgroup cgroup;
  std::vector<layer> layers;
  std::string etc_folder;
  std::uint32_t disk_base = 0;   // first id of the owners of its files on disk; 0: an ordinary user's box
  std::vector<std::string> walls, missing;
  bool owners_mapped = false;
  std::uint64_t disk_limit = 0;  // bytes; 0: none
  std::uint64_t witness = 0;     // under which number the witness knows it; 0: its executions are not observed

  json to_json() const;
  static result<box_record> parse(const std::string& text);
};

struct box {
  // Set before the box is shared, constant afterwards.
  std::string id;
  unique_fd pidfd;
  bool adopted = false;  // not our child: nobody can wait for it

  // Guarded by `guard`.
  std::mutex guard;
  box_record record;
  bool destroyed = false;
  bool ended = false;
  int status = 0;
  bool waited = false;
  std::uint64_t oom_kills = 0;
  manifest mark;
  std::uint64_t disk_bytes = 0;
  std::chrono::steady_clock::time_point disk_known{};
  std::chrono::steady_clock::duration disk_cost{};
  // What is known of limits that it has hit.
  struct {
    std::chrono::microseconds cpu{0};
    std::uint64_t oom_kills = 0, refused_forks = 0;
    bool disk_full = false;
    std::chrono::steady_clock::time_point disk_next{};
    std::map<std::string, std::chrono::steady_clock::time_point> told;
  } limits;
};

box_info describe_box(const box_record& record);

}  // namespace caged::vmm::jail
