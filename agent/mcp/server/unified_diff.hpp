// A unified diff of an edit whose places are known, so that nothing has to be compared.
#pragma once

#include <string>
#include <vector>

namespace caged::mcp {

// `before` has `old_size` bytes at each of `places` (ascending) that became `new_size` bytes in `after`.
std::string unified_diff(const std::string& path, const std::string& before, const std::string& after,
                         const std::vector<std::size_t>& places, std::size_t old_size, std::size_t new_size);

}  // namespace caged::mcp
