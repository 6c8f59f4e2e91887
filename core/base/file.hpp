// Small files of the host's own, read whole and replaced whole.
#pragma once

#include <sys/types.h>
#include <caged/result.hpp>
#include <filesystem>
#include <string>
#include <string_view>

namespace caged::base {

// Replaces the file: readers see the old or the new content, never a part, also after a crash. The mode holds from the
// first byte on, whatever the umask. A symbolic link at `path` is replaced, not followed. Blocks.
result<void> write_file(const std::filesystem::path& path, std::string_view content, mode_t mode = 0600);

// The whole content; too_large beyond `limit` bytes, invalid_argument for what is not a regular file. Blocks.
result<std::string> read_file(const std::filesystem::path& path, std::size_t limit = 1 << 20);

// Makes the folder and its parents where they are missing, each with this mode; a folder that exists is left as it is.
result<void> make_folder(const std::filesystem::path& path, mode_t mode = 0700);

}  // namespace caged::base
