// Kernel interfaces that the C library does not wrap, and the one way in which a step of building a wall fails.
#pragma once

#include <caged/walls/unique_fd.hpp>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace caged::walls {

// A step that failed: which wall it belongs to, what was tried, why. Whoever builds catches it in one place.
struct step_failure {
  std::string wall;
  std::string step;
  int err = 0;
};

[[noreturn]] inline void fail_step(std::string_view wall, std::string step, int err = errno) {
  throw step_failure{std::string(wall), std::move(step), err};
}

// Passes a good return value through; a negative one fails the step.
inline int must(int value, std::string_view wall, std::string step) {
  if (value < 0) fail_step(wall, std::move(step));
  return value;
}

struct clone_arguments {
  std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

inline pid_t sys_clone3(clone_arguments& args) { return static_cast<pid_t>(::syscall(435, &args, sizeof args)); }
inline int sys_pivot_root(const char* to, const char* old) {
  return static_cast<int>(::syscall(SYS_pivot_root, to, old));
}
inline int sys_execveat(int fd, const char* path, char* const* argv, char* const* envp, int flags) {
  return static_cast<int>(::syscall(SYS_execveat, fd, path, argv, envp, flags));
}

}  // namespace caged::walls
