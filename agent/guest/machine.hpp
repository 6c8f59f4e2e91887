// The agent as the first process of a virtual machine: from the initial file system to the box's own.
#pragma once

#include <string>

#include "handle.hpp"

namespace caged::agent {

// Loads the modules that the initial file system brings, mounts the read-only image under the writable disk and makes
// that the root. Throws what went wrong; there is nothing to go on with then.
void enter_machine();
// The workloads' control group, through which they are frozen and limited.
class workload_group {
 public:
  workload_group();  // makes it; needs the control group file system at /sys/fs/cgroup
  int procs() const noexcept { return procs_.get(); }
  // Blocks until every process stands still or runs again, at most 2 s; false: some would not.
  bool freeze();
  void thaw();
  void limit_tasks(std::uint32_t most);

 private:
  bool write(const char* file, const std::string& text) const;
  fd folder_, procs_;
};

// The port of this name (virtio-serial), non-blocking.
fd open_port(const std::string& name);
// Ends the machine.
[[noreturn]] void leave_machine();

}  // namespace caged::agent
