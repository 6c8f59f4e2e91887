// The peers' side: bare processes and terminals, and what /proc says about memory.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

namespace caged::bench {

// posix_spawn with /dev/null as all three descriptors, then waitpid; throws unless it exits with 0.
void run_process(const std::vector<std::string>& argv);

// Runs a shell command on a terminal of its own and reads all its output; answers the number of bytes.
std::size_t run_on_terminal(const std::string& command);

// Proportional set size in MiB; 0 when the process is gone. Needs root or the same user.
double pss_mib(pid_t pid);

// Living processes whose name (comm) begins with `prefix`.
std::set<pid_t> processes_named(const std::string& prefix);

// `roots` and all their living descendants.
std::set<pid_t> family_of(std::set<pid_t> roots);

}  // namespace caged::bench
