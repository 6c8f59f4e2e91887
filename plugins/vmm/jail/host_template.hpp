// Template "host": the host's own system folders, read-only below a writable layer, with an /etc that holds no secret.
#pragma once

#include "launcher/spec.hpp"

#include <caged/result.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace caged::vmm::jail {

struct template_options {
  std::vector<std::string> extra_lower;  // absolute folders of the host that boxes see as well
  std::vector<std::string> extra_etc;    // names below /etc to copy besides the usual ones
};

// What a box is made of; immutable once prepared.
struct host_template {
  std::vector<layer> layers;                                  // "etc" among them
  std::vector<std::pair<std::string, std::string>> links;     // name in the root → target: "bin" → "usr/bin"
  std::string etc_folder;                                     // name below the template folder, by content
  bool own_folders = true;  // the layers belong to the host's root: an ordinary user's box needs folders above them
};

// Copies what programs need of /etc into `folder` (once for each content) and lists the layers. Blocks.
result<host_template> prepare_host_template(const std::filesystem::path& folder, const template_options& options);

// The same of a folder that holds a whole root file system and never changes. folder_template.cpp
result<host_template> folder_template(const std::filesystem::path& root);

// Removes copies of /etc that no box uses. `used` are names of etc folders.
void remove_old_templates(const std::filesystem::path& folder, const std::vector<std::string>& used);

// Fills a box's empty folder: fs/root, fs/layers/*/{upper,work}. `owner`: the id on the host that the box's root has,
// 0 for the caller's own.
result<void> make_skeleton(int fs, const host_template& from, const std::string& id, std::uint32_t owner);

// Tells the box's files its name, before anything in it has looked.
result<void> write_names(int fs, const std::string& id);
// The same in files that a box had: whatever lies there under these names is put aside first. A folder is left alone.
void replace_names(int fs, const std::string& id, std::uint32_t owner);

}  // namespace caged::vmm::jail
