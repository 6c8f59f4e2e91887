// Finds and ends every process that one start led to, however it tried to get away.
//
// A process started by the agent carries a mark that its descendants inherit through fork, exec, setsid, a cleared
// environment and re-parenting: a unique RLIMIT_RTTIME (it concerns real-time scheduling only, and a process without
// CAP_SYS_RESOURCE over the machine can lower a hard limit but never set it back to another tree's). A tree is
// everything that carries the mark, plus everything that descends from a process that does. To outrun a fork bomb all
// of it is stopped first, until a look finds nothing new; then it is killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace caged::agent {

// A fresh mark; 0 when this process may not set one (then only ancestry and sessions are followed).
std::uint64_t new_cookie();

// The living processes of a tree, the root first where it lives. `root` may be gone already.
std::vector<pid_t> tree_members(pid_t root, std::uint64_t cookie);

// Sends `signal` to every member. SIGKILL stops first and repeats until none is left (bounded: 2 s).
void signal_tree(pid_t root, std::uint64_t cookie, int signal);

}  // namespace caged::agent
