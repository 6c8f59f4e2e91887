// The configuration of plugins.vmm.qemu, validated by the host against schema.json.
#pragma once

#include <caged/host.hpp>
#include <caged/json.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace caged::vmm::qemu {

struct settings {
  std::filesystem::path data;  // boxes/ bases/ snapshots/ images/
  std::filesystem::path program, kernel, modules;  // empty kernel: none was found
  std::filesystem::path agent, launcher, door;
  std::map<std::string, std::filesystem::path> templates;  // name → folder, or an erofs image
  std::string accelerator = "auto";                        // auto, kvm, tcg
  std::uint32_t uid_base = 0x7f000000;
  unsigned warm = 1;
  std::chrono::milliseconds start_deadline{120'000};
};

settings read_settings(const json& config, const host& from);

}  // namespace caged::vmm::qemu
