// The configuration of plugins.vmm.docker, validated by the host against schema.json.
#pragma once

#include <caged/host.hpp>
#include <caged/json.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace caged::vmm::docker {

struct settings {
  std::string socket;
  std::filesystem::path data;  // owner, boxes/
  std::filesystem::path agent;
  std::map<std::string, std::filesystem::path> templates;  // name → archive or folder
  std::vector<std::string> capabilities;
  std::vector<std::string> accept_missing;
  std::chrono::milliseconds start_deadline{30'000};
};

settings read_settings(const json& config, const host& from);

}  // namespace caged::vmm::docker
