// Turns the calling process, the first of its namespaces, into a contained box and starts the agent in it.
#pragma once

#include "launcher/mounts.hpp"
#include "launcher/spec.hpp"

#include <array>

namespace caged::vmm::jail {

using handed_fds = std::array<unique_fd, handed_count>;

// Namespaces every box has. Time is apart, because a kernel may be built without it.
std::uint64_t namespace_flags() noexcept;

// Never returns: executes the agent or throws step_failure. `report` gets a line about each accepted missing wall.
[[noreturn]] void contain(const launch_spec& spec, handed_fds fds, detached_trees trees, int report);

}  // namespace caged::vmm::jail
