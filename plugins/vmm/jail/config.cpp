#include "config.hpp"

namespace caged::vmm::jail {
namespace {

std::vector<std::string> words(const json& config, const char* key) {
  const auto it = config.find(key);
  return it == config.end() ? std::vector<std::string>{} : it->get<std::vector<std::string>>();
}

std::vector<std::string> usual_sensitive() {
  return {"/etc/passwd",
          "/etc/shadow",
          "/etc/group",
          "/etc/gshadow",
          "/etc/sudoers",
          "*/.ssh/id_rsa",
          "*/.ssh/id_ed25519",
          "*/.ssh/id_ecdsa",
          "*/.ssh/authorized_keys",
          "*/.aws/credentials",
          "*/.config/gh/hosts.yml",
          "*/.docker/config.json",
          "*/.kube/config",
          "*/.netrc",
          "*/.npmrc",
          "*/.pypirc",
          "*/.git-credentials",
          "*/.env"};
}

std::filesystem::path path_or(const json& config, const char* key, std::filesystem::path otherwise) {
  const std::string text = config.value(key, std::string());
  return text.empty() ? otherwise : std::filesystem::path(text);
}

}  // namespace

settings read_settings(const json& config, const host& from) {
  settings out;
  out.data = path_or(config, "data_dir", from.data_dir());
  out.launcher = path_or(config, "launcher", from.program_dir() / "caged-jail-launcher");
  out.agent = path_or(config, "agent", from.program_dir() / "caged-agent");
  out.accept_missing = words(config, "accept_missing");
  out.source.extra_lower = words(config, "extra_lower");
  out.source.extra_etc = words(config, "extra_etc");
  out.uid_base = config.value("uid_base", out.uid_base);
  out.max_boxes = config.value("max_boxes", out.max_boxes);
  out.cgroup_root = config.value("cgroup_root", std::string());
  const json evidence = config.value("evidence", json::object());
  out.observe_execs = evidence.value("exec", true);
  out.observe_files.on = evidence.value("files", true);
  out.observe_files.sensitive = evidence.contains("sensitive") ? words(evidence, "sensitive") : usual_sensitive();
  out.warm_boxes = config.value("warm_boxes", out.warm_boxes);
  out.start_deadline = std::chrono::milliseconds(config.value("start_timeout_ms", 10'000));
  return out;
}

}  // namespace caged::vmm::jail
