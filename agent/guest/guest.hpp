// The agent in a virtual machine, from the first process's start to the machine's end.
#pragma once

#include <map>
#include <string>

#include "handle.hpp"
#include "options.hpp"

namespace caged::agent {

// `signals`: a signalfd of SIGCHLD and the ends; `env`: what every workload gets at least. Does not return: the
// machine ends with it.
[[noreturn]] void run_guest(const options& o, fd signals, std::map<std::string, std::string> env);

}  // namespace caged::agent
