// What a process of a box is about to execute, read from outside while the kernel holds it still.
#pragma once

#include "launcher/unique_fd.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <linux/seccomp.h>
#include <sys/types.h>

namespace caged::vmm::jail {

struct seen_exec {
  std::string path, cwd, stdin_kind;  // path: absolute inside the box where it can be told
  std::vector<std::string> argv;
  bool truncated = false;             // argv was longer than what is kept
  bool missing = false;               // there is no such program in the box
  pid_t host_pid = 0, host_ppid = 0;  // process, not thread
  pid_t pid = 0;                      // inside
  std::uint32_t host_uid = 0;
};

// The filter that reports execve and execveat to its listener and allows everything else: installed on top of the box's
// own filter, whose refusals come first. Throws step_failure; the answer is the listener.
unique_fd install_exec_filter();

// Reads everything about the notification's process. What cannot be read stays empty. The caller checks afterwards that
// the notification is still valid: only then was it this process, and not another one of the same number, that was
// read. The memory is the box's: another thread of it may change what was read before the kernel reads it again (the
// kernel's documented limit of SECCOMP_USER_NOTIF_FLAG_CONTINUE), which is why the program that then runs is recorded
// as well.
seen_exec observe_exec(const seccomp_notif& n);

// The program the process runs now, as the box names it; empty when it has gone.
std::string running_program(pid_t host_pid);

// The number that a process of the host has in its own PID namespace; 0 when it has gone.
pid_t inside_number(pid_t host_pid);

struct seen_end {
  bool known = false;
  int status = 0;  // wait status
};
// How a process ended whose pidfd says that it did. `host_pid` is used only while the descriptor proves that the number
// still stands for it.
seen_end observe_end(int pidfd, pid_t host_pid);

}  // namespace caged::vmm::jail
