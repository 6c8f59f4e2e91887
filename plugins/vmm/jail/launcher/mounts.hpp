// The box's view of the file system, made of detached mounts that no path of the box can redirect.
#pragma once

#include "launcher/spec.hpp"
#include "launcher/system.hpp"

#include <vector>

namespace caged::vmm::jail {

// Mounts cloned from the host's tree and attached nowhere yet.
struct detached_trees {
  unique_fd box;                  // boxes/<id>/fs: root folder and writable layers
  unique_fd agent;                // the agent's program, read-only
  std::vector<unique_fd> layers;  // same order as spec.layers, read-only
};

// Clones the trees from the caller's mount namespace. Needs CAP_SYS_ADMIN over that namespace: run by the launcher
// when it is root, by the box's first process (in its own user namespace) otherwise.
detached_trees clone_trees(const launch_spec& spec, int box_folder, int agent_program);

// Shows the read-only trees with root's files as the box root's files. False where the file system cannot do it; the
// box then sees them as nobody's, which is harmless.
bool map_owners(const detached_trees& trees, int user_namespace);

// Builds the root and makes it the process's only root: afterwards nothing of the host's tree can be named.
// `missing` collects walls that do not stand and were accepted.
void enter_root(const launch_spec& spec, detached_trees trees, std::vector<std::string>& missing);

}  // namespace caged::vmm::jail
