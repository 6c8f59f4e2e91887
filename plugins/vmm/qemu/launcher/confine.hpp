// The walls around QEMU, which is taken for hostile: whoever breaks out of the guest is in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace caged::vmm::qemu {

// A file or folder of the host and where QEMU sees it.
struct shown {
  std::string from, to;
  bool write = false;
  bool device = false;
};

struct walls {
  std::vector<shown> root;  // nothing else is there
  std::uint32_t uid = 0;    // the box's own; without privilege it stays the caller's
  std::uint64_t largest_file = 0;
  std::uint64_t address_space = 0;  // guest memory and what QEMU itself may take
};

// For the process that becomes QEMU, after the fork. Throws std::runtime_error that names the wall.
// In order: namespaces (user without privilege; mount, net, IPC, UTS, cgroup), an own root of `root` alone, limits, no
// capabilities and no way to new ones, the user, Landlock (reads what `root` shows, writes what it says, no TCP).
void confine_machine(const walls& w);
// For the relay: it keeps its open descriptors and needs nothing else.
void confine_relay(const walls& w);

}  // namespace caged::vmm::qemu
