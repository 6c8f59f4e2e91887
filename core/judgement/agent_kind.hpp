// Recognises coding agents: by the programs they are, and by what their clients call themselves.
#pragma once

#include <caged/json.hpp>
#include <string>
#include <string_view>

namespace caged::judgement {

// "claude-code", "codex", "cursor", "aider" …; "" for a program that is no agent we know. `command` is the data of a
// "command" fact.
std::string agent_of(const json& command);
// Of a User-Agent or an MCP client's name.
std::string agent_of_client(std::string_view client);

}  // namespace caged::judgement
