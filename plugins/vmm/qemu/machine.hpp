// One virtual machine: its folder, its processes, what it is started with.
#pragma once

#include "config.hpp"

#include <caged/owned_fd.hpp>
#include <caged/result.hpp>
#include <cstdint>
#include <string>

#include <sys/types.h>

namespace caged::vmm::qemu {

// What a machine's hardware is; memory and state fit only a machine of the same shape.
struct shape {
  std::string image;
  std::uint64_t memory_mib = 512;
  std::uint64_t disk_bytes = 5ull << 30;
  unsigned cpus = 1;

  json to_json() const;
  static shape from_json(const json& value);
  bool operator==(const shape&) const = default;
};

struct running {
  pid_t relay = 0, machine = 0;
  owned_fd process, vm;  // pidfds of the two
};

enum class accelerator : std::uint8_t { unset = 0, tcg, kvm };

// Where the parts of a machine lie. Its own folder gets sockets, `end` and, for what it changes, `disk`.
struct parts {
  std::filesystem::path folder, image, initrd;
  std::filesystem::path memory;  // written when `state` is empty (a cold boot), else only read
  std::filesystem::path state;
  shape hardware;
  accelerator by = accelerator::tcg;
  std::uint32_t uid = 0;
};

// Starts it. A machine with a state stands still until QMP's `cont`. On return its sockets can be connected to.
result<running> start_machine(const settings& s, const parts& p);
// Kills relay and machine and waits until both are gone.
void kill_machine(const running& r);
// A descriptor of the process, empty when it is gone.
owned_fd open_process(pid_t pid);

}  // namespace caged::vmm::qemu
