#include "core/judgement/agent_kind.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace caged::judgement {
namespace {

using pair = std::pair<std::string_view, std::string_view>;

// Program → agent.
constexpr std::array<pair, 16> programs{{{"claude", "claude-code"},
                                         {"claude-code", "claude-code"},
                                         {"codex", "codex"},
                                         {"cursor-agent", "cursor"},
                                         {"cursor", "cursor"},
                                         {"aider", "aider"},
                                         {"gemini", "gemini-cli"},
                                         {"opencode", "opencode"},
                                         {"goose", "goose"},
                                         {"amp", "amp"},
                                         {"copilot", "copilot"},
                                         {"qwen", "qwen-code"},
                                         {"cline", "cline"},
                                         {"crush", "crush"},
                                         {"openhands", "openhands"},
                                         {"swe-agent", "swe-agent"}}};

// Part of a client's own name, in lower case → agent. The more special first.
constexpr std::array<pair, 14> clients{{{"claude", "claude-code"},
                                        {"codex", "codex"},
                                        {"cursor", "cursor"},
                                        {"aider", "aider"},
                                        {"gemini", "gemini-cli"},
                                        {"windsurf", "windsurf"},
                                        {"opencode", "opencode"},
                                        {"goose", "goose"},
                                        {"copilot", "copilot"},
                                        {"cline", "cline"},
                                        {"zed", "zed"},
                                        {"openhands", "openhands"},
                                        {"swe-agent", "swe-agent"},
                                        {"qwen", "qwen-code"}}};

std::string_view program_name(std::string_view path) {
  path = path.substr(path.rfind('/') + 1);
  for (const std::string_view end : {".js", ".mjs", ".py"})
    if (path.ends_with(end)) path.remove_suffix(end.size());
  return path;
}

std::string named(std::string_view program) {
  for (const auto& [name, agent] : programs)
    if (name == program) return std::string(agent);
  return {};
}

}  // namespace

std::string agent_of(const json& command) {
  const auto argv = command.find("argv");
  if (argv != command.end() && argv->is_array() && !argv->empty() && (*argv)[0].is_string()) {
    const std::string_view first = program_name((*argv)[0].get_ref<const std::string&>());
    if (auto agent = named(first); !agent.empty()) return agent;
    // Most agents are scripts: `node /usr/bin/claude`, `python3 -m aider`.
    const bool runs_script = first == "node" || first == "bun" || first == "npx" || first.starts_with("python");
    for (std::size_t i = 1; runs_script && i < argv->size() && i < 4; ++i) {
      const json& word = (*argv)[i];
      if (!word.is_string() || word.get_ref<const std::string&>().starts_with('-')) continue;
      return named(program_name(word.get_ref<const std::string&>()));
    }
    return {};
  }
  const auto text = command.find("command");
  if (text == command.end() || !text->is_string()) return {};
  const std::string& shell = text->get_ref<const std::string&>();
  return named(program_name(std::string_view(shell).substr(0, shell.find_first_of(" \t\n;|&"))));
}

std::string agent_of_client(std::string_view client) {
  std::string lower(client.substr(0, 200));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const auto& [part, agent] : clients)
    if (lower.find(part) != std::string::npos) return std::string(agent);
  return {};
}

}  // namespace caged::judgement
