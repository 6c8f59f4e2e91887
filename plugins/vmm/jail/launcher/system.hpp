// The walls' system calls and failures, under this room's name.
#pragma once

#include <caged/walls/system.hpp>

namespace caged::vmm::jail {
using namespace walls;
}  // namespace caged::vmm::jail
