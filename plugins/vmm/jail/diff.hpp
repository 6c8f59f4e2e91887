// What changed in a box's file system since a mark, seen from the host: the box can neither forge nor avoid it.
#pragma once

#include "launcher/spec.hpp"

#include <caged/vmm.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace caged::vmm::jail {

// What the mark keeps of one entry. Change time cannot be set by the box, so a restored modification time hides
// nothing.
struct file_mark {
  std::uint64_t inode = 0, size = 0;
  std::int64_t modified_ns = 0, changed_ns = 0;
  std::uint32_t mode = 0;
  friend bool operator==(const file_mark&, const file_mark&) = default;
};

// Places where the kernel or a layer is mounted inside: what lies under them in the root folder is never seen. `path`
// is relative to the root.
bool is_covered(const std::string& path, const std::vector<layer>& layers);

// By path inside the box.
using manifest = std::map<std::string, file_mark>;

struct seen_file {
  file_mark mark;
  bool whiteout = false;   // deleted from the layer below
  bool below = false;      // the layer below has one of this name
  bool folder = false;
};
using box_files = std::map<std::string, seen_file>;

// Everything the box has written: `fs` is the box's fs folder.
box_files scan(int fs, const std::vector<layer>& layers);

// Of one file below `fs`; empty where there is none.
std::optional<file_mark> mark_of_file(int fs, const char* path);

manifest to_manifest(const box_files& files);
std::vector<box_change> difference(const manifest& before, const box_files& now);

// The manifest as text, for the mark to survive the host.
std::string encode(const manifest& m);
manifest decode_manifest(const std::string& text);

}  // namespace caged::vmm::jail
