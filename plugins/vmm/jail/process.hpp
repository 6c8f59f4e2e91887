// Identity of a box's first process: never the number alone, because numbers are used again.
#pragma once

#include "launcher/unique_fd.hpp"

#include <caged/json.hpp>
#include <chrono>
#include <optional>
#include <string>

#include <sys/types.h>

namespace caged::vmm::jail {

struct process_identity {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // since boot: two processes with one number differ here
  std::string boot;               // two boots may agree in both

  json to_json() const;
  static process_identity from_json(const json& value);
};

// The identity of a live process that cannot be reaped meanwhile (a child of ours).
std::optional<process_identity> identify(pid_t pid);

// A descriptor of that very process; empty when it is gone.
unique_fd open_process(const process_identity& identity);

// SIGKILL, then waits until the process is gone (a zombie counts as gone).
result<void> kill_and_wait(int pidfd, std::chrono::milliseconds deadline);

// The wait status when the process has ended and is our child; reaps it. Empty otherwise.
std::optional<int> reap(int pidfd);

}  // namespace caged::vmm::jail
