// The configuration of plugins.vmm.jail, validated by the host against schema.json.
#pragma once

#include "file_evidence.hpp"
#include "host_template.hpp"

#include <caged/host.hpp>
#include <caged/json.hpp>
#include <chrono>
#include <filesystem>

namespace caged::vmm::jail {

struct settings {
  std::filesystem::path data;      // boxes, templates
  std::filesystem::path launcher;  // caged-jail-launcher
  std::filesystem::path agent;     // caged-agent
  std::vector<std::string> agent_arguments;
  std::vector<std::string> accept_missing;
  template_options source;
  std::uint32_t uid_base = 524288;
  std::uint32_t max_boxes = 8192;  // ranges of 65536 ids from uid_base on
  std::string cgroup_root;
  std::chrono::milliseconds start_deadline{10'000};
  bool observe_execs = true;
  file_evidence::settings observe_files;
  std::size_t warm_boxes = 4;
};

settings read_settings(const json& config, const host& from);

}  // namespace caged::vmm::jail
