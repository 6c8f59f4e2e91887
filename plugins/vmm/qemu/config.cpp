#include "config.hpp"

#include <algorithm>

namespace caged::vmm::qemu {
namespace {

std::filesystem::path path_or(const json& config, const char* key, std::filesystem::path otherwise) {
  const std::string text = config.value(key, std::string());
  return text.empty() ? otherwise : std::filesystem::path(text);
}

// The newest kernel for cloud machines that this distribution has installed: it needs no firmware and boots in little
// memory.
std::filesystem::path usual_kernel() {
  std::filesystem::path best;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/boot", ec)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64") && entry.path() > best) best = entry.path();
  }
  return best;
}

std::filesystem::path usual_modules(const std::filesystem::path& kernel) {
  const std::string name = kernel.filename().string();
  const auto dash = name.find('-');
  return dash == std::string::npos ? std::filesystem::path()
                                   : std::filesystem::path("/lib/modules") / name.substr(dash + 1);
}

}  // namespace

settings read_settings(const json& config, const host& from) {
  settings out;
  out.data = path_or(config, "data_dir", from.data_dir());
  out.program = path_or(config, "program", "/usr/bin/qemu-system-x86_64");
  out.kernel = path_or(config, "kernel", usual_kernel());
  out.modules = path_or(config, "modules", usual_modules(out.kernel));
  out.agent = path_or(config, "agent", from.program_dir() / "caged-agent");
  out.launcher = path_or(config, "launcher", from.program_dir() / "caged-qemu-launcher");
  out.door = out.launcher.parent_path() / "caged-qemu-memory.so";
  if (const auto it = config.find("templates"); it != config.end())
    for (const auto& [name, path] : it->items()) out.templates[name] = path.get<std::string>();
  out.accelerator = config.value("accelerator", out.accelerator);
  out.uid_base = config.value("uid_base", out.uid_base);
  out.warm = config.value("warm_boxes", out.warm);
  out.start_deadline = std::chrono::milliseconds(config.value("start_timeout_ms", 120'000));
  return out;
}

}  // namespace caged::vmm::qemu
