// Files of one range of user ids, shown as those of another: a box on a volume that another box has written.
#pragma once

#include "launcher/spec.hpp"

namespace caged::vmm::jail {

// Makes the detached mount `tree` show ids from `spec.disk_base` on as those from `spec.uid_base` on, and write them
// back the same way. Needs the host's root and a file system that can do it. Throws step_failure.
void map_box_owners(int tree, const launch_spec& spec);

}  // namespace caged::vmm::jail
