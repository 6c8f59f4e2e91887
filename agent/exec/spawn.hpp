// Starts one program of the box: new session, given environment, nothing inherited.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exec/users.hpp"
#include "handle.hpp"

namespace caged::agent {

// What to start. Every string is final; nothing is looked up in the child but argv[0] along PATH of `env`.
struct spawn_plan {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value"
  std::string path;              // of the workload, for looking argv[0] up
  fd cwd;                        // opened folder
  std::optional<user> run_as;    // nullopt: as the agent
  int input = -1, output = -1, error = -1;  // become 0, 1, 2
  std::uint64_t cookie = 0;      // marks the process tree, see kill_tree.hpp
  int group = -1;                // cgroup.procs of the control group it is to be in
  enum class terminal : std::uint8_t { unset = 0, none, controlling } tty = terminal::none;
};

struct spawned {
  pid_t pid = 0;
  fd pidfd;
};

// Returns when the program has been executed; a failure (of chdir, of the user, of execve) is thrown and names it.
spawned spawn(const spawn_plan& plan);

}  // namespace caged::agent
