// The system call filter of all boxes.
#pragma once

#include "launcher/unique_fd.hpp"

#include <caged/result.hpp>
#include <caged/walls/filter.hpp>

namespace caged::vmm::jail {

// Compiled once for all boxes.
inline result<unique_fd> compile_box_filter() {
  try {
    return walls::compile_filter();
  } catch (const walls::step_failure& f) {
    return errno_error(f.err, f.step);
  }
}

}  // namespace caged::vmm::jail
