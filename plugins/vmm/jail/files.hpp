// Work on a box's folders from the host: relative to descriptors, never through a symlink that the box made.
#pragma once

#include "launcher/unique_fd.hpp"

#include <caged/result.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include <sys/stat.h>

namespace caged::vmm::jail {

// What to do when writing for a box fails.
inline constexpr const char* free_space = "Free space on the disk of the data folder.";

// Opens a folder directly below `dir`; refuses symlinks and other file systems (openat2). -1 and errno on failure.
int open_folder(int dir, const char* name) noexcept;
// Makes the folder where it is missing and opens it.
result<unique_fd> make_folder(int dir, const char* name, mode_t mode);

result<std::string> read_small_file(const std::filesystem::path& path, std::size_t limit = 1 << 20);
result<std::string> read_small_file_at(int dir, const char* name, std::size_t limit = 1 << 20);
// The old file or the new one, never half of it; the reader may be a host that starts after this one was killed.
result<void> write_atomically(int dir, const std::string& name, std::string_view text);

// Removes `name` below `dir` with everything in it: any depth, any permission bits, any number of files. Success when
// it does not exist. For folders nobody works in any more.
result<void> remove_tree(int dir, const std::string& name);

// What walk() shows of an entry.
struct walk_entry {
  const std::string& path;  // relative to the walk's start, "a/b"
  const struct stat& status;
};

// Visits everything below `dir`, folders before their content, following no symlink. A folder that changes meanwhile
// is seen in one state or the other. Deeper than 512 levels is not visited; `truncated` then becomes true.
struct walk_result {
  std::uint64_t entries = 0;
  bool truncated = false;
};
// The visitor returns whether to go into the folder it was shown.
walk_result walk(int dir, const std::function<bool(const walk_entry&)>& visit);

// Bytes on disk of everything below `dir`.
std::uint64_t disk_usage(int dir);

}  // namespace caged::vmm::jail
