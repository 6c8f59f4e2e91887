// Snapshots as .tar.gz, in the shape of an OCI layer over the template: names inside the box, `.wh.` for deletions.
#pragma once

#include "launcher/spec.hpp"

#include <caged/result.hpp>
#include <cstdint>
#include <vector>

namespace caged::vmm::jail {

// Writes everything in the volume `fs` to the socket `to`. `base`: first id of the owners on disk. Blocks.
result<void> write_archive(int fs, const std::vector<layer>& layers, std::uint32_t base, int to);

// Unpacks what comes from `from` into the new volume `fs`, which nobody uses yet. The archive is hostile until shown
// otherwise: a name that leads out or through a link, a device, more than `most_bytes` or a million entries are
// refused, and the volume is then to be thrown away. Owners beyond the box's range become nobody. Blocks.
result<void> read_archive(int from, int fs, const std::vector<layer>& layers, std::uint32_t base,
                          std::uint64_t most_bytes);

inline constexpr std::string_view deleted_prefix = ".wh.";
inline constexpr std::string_view opaque_name = ".wh..wh..opq";
inline constexpr const char* opaque_attribute = "user.overlay.opaque";
inline constexpr std::uint32_t nobody_inside = 65534;

}  // namespace caged::vmm::jail
