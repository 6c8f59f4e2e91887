// The system calls that nobody inside a wall may make, as a program for the kernel.
#pragma once

#include <string_view>
#include <vector>

#include <caged/walls/system.hpp>
#include <caged/walls/unique_fd.hpp>

namespace caged::walls {

struct denied_call {
  std::string_view name;
  std::string_view why;
};

// What is refused whatever its arguments.
const std::vector<denied_call>& denied_calls();

// Compiles the filter into a sealed memory file, for filter_system_calls(). Throws step_failure (wall "seccomp").
unique_fd compile_filter();

}  // namespace caged::walls
