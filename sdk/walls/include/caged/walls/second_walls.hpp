// Landlock and the system call filter: the walls behind mounts, namespaces and capabilities.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <caged/walls/system.hpp>

namespace caged::walls {

// What a process may do below a folder; bits as Landlock's.
inline constexpr std::uint64_t only_reading = 0b1101;                 // execute, read files, read folders
inline constexpr std::uint64_t devices = only_reading | 1ull << 1 | 1ull << 14 | 1ull << 15;  // write, truncate, control
inline constexpr std::uint64_t everything_below = ~0ull;
inline constexpr std::uint64_t files_below = everything_below & ~(1ull << 6 | 1ull << 11);  // no device nodes

struct landlock_rule {
  std::string folder;
  std::uint64_t allowed;
};

// From now on this thread and what it starts can do below these folders what is allowed there, and nothing elsewhere,
// whatever else a broken mount wall or a smuggled descriptor may lead to. Mounts can no longer be changed; signals and
// abstract sockets stay inside where the kernel knows how. Throws step_failure (wall "landlock").
void confine_by_landlock(const std::vector<landlock_rule>& rules);

// Installs the compiled filter, which `filter` holds, for this thread and what it starts. After no_new_privs. Throws
// step_failure (wall "seccomp").
void filter_system_calls(int filter);

}  // namespace caged::walls
