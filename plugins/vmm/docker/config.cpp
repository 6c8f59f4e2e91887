#include "config.hpp"

namespace caged::vmm::docker {

settings read_settings(const json& config, const host& from) {
  settings out;
  out.socket = config.value("socket", "/var/run/docker.sock");
  const std::string data = config.value("data_dir", "");
  const std::string agent = config.value("agent", "");
  out.data = data.empty() ? from.data_dir() : std::filesystem::path(data);
  out.agent = agent.empty() ? from.program_dir() / "caged-agent" : std::filesystem::path(agent);
  if (const auto it = config.find("templates"); it != config.end())
    for (const auto& [name, path] : it->items()) out.templates[name] = path.get<std::string>();
  out.capabilities = config.value("capabilities", std::vector<std::string>{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID",
                                                                           "KILL", "SETGID", "SETUID"});
  out.accept_missing = config.value("accept_missing", std::vector<std::string>());
  out.start_deadline = std::chrono::milliseconds(config.value("start_timeout_ms", 30'000));
  return out;
}

}  // namespace caged::vmm::docker
