// An optional interface of a vmm backend: templates that the host has built, as folders that boxes are made on.
#pragma once

#include <caged/task.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace caged {

// A root file system on the host. Nothing changes in it for as long as it is offered: `digest` names its content.
struct vmm_template {
  std::string name;    // what box_spec::image says
  std::string digest;  // "sha256-…"
  std::filesystem::path root;
};

// Found by plugin::extension<vmm_templates>(). A backend that needs another form than a folder (an image for a virtual
// machine) makes it when it is offered one it does not know, and keeps it by the digest.
class vmm_templates {
 public:
  static constexpr std::string_view interface_name = "caged.vmm_templates.v1";
  virtual ~vmm_templates() = default;

  // All that there are, in place of those offered before. Boxes made of one that is missing now are not touched.
  virtual task<void> offer(std::vector<vmm_template> all) = 0;
  // Folders that living boxes or snapshots lie on; the host removes none of them.
  virtual task<std::vector<std::string>> roots_in_use() = 0;
};

}  // namespace caged
