// Volumes: the writable files of a box or a snapshot as one folder that is copied at one moment and thrown away whole.
#pragma once

#include "launcher/unique_fd.hpp"

#include <caged/result.hpp>
#include <cstdint>
#include <string>

namespace caged::vmm::jail {

// How a volume is copied on the file system of the data folder.
enum class volume_kind : std::uint8_t { unset = 0, subvolume, copy };

// subvolume: btrfs, where a copy takes the same time whatever it holds. copy: everywhere else.
volume_kind volume_kind_of(int dir) noexcept;
std::string_view to_string(volume_kind kind) noexcept;

// Makes an empty volume `name` in `dir` and opens it. All names here are the plugin's own, never a box's. Blocks.
result<unique_fd> make_volume(int dir, const std::string& name);
// Copies the volume that `from` is open on. Nobody may write in it meanwhile where volume_kind_of() says copy. A
// failure leaves nothing.
result<void> copy_volume(int from, int dir, const std::string& name);
// Removes the volume and everything in it, also when it is a plain folder. Success when there is none.
result<void> remove_volume(int dir, const std::string& name);

// A folder's content with modes, owners, times, extended attributes, links of both kinds and holes; shares blocks where
// the file system can. `to` is an empty folder. Follows no symlink; leaves sockets out.
result<void> copy_tree(int from, int to);

}  // namespace caged::vmm::jail
