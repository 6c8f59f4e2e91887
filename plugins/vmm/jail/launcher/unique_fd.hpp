// A file descriptor with an owner, under this room's name.
#pragma once

#include <caged/walls/unique_fd.hpp>

namespace caged::vmm::jail {
using namespace walls;
}  // namespace caged::vmm::jail
