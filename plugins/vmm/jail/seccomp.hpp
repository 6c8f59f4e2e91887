// The system calls no box may make, as a program for the kernel.
#pragma once

#include "launcher/unique_fd.hpp"

#include <caged/result.hpp>
#include <string_view>
#include <vector>

namespace caged::vmm::jail {

struct denied_call {
  std::string_view name;
  std::string_view why;
};

// What is refused whatever its arguments.
const std::vector<denied_call>& denied_calls();

// Compiles the filter into a sealed memory file, once for all boxes.
result<unique_fd> compile_filter();

}  // namespace caged::vmm::jail
