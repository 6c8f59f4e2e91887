// The command line and the CAGED_MCP_* variables of caged-mcp-server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "log.hpp"

namespace caged::mcp {

enum class access : std::uint8_t { unset = 0, read_write, read_only };
// Which of two sets of names the file tools have.
enum class tool_names : std::uint8_t {
  unset = 0,
  documented,  // file_read …
  published,   // filesystem_read …, as the published binary calls them
};

struct server_options {
  std::string workspace = ".";
  access allowed_access = access::read_write;
  std::optional<std::vector<std::string>> allowed_commands;  // nullopt: all
  tool_names names = tool_names::documented;
  std::vector<std::string> pass_environment;                 // further variables that commands get
  agent::log_level level = agent::log_level::info;
  bool version = false, help = false;
  std::vector<std::string> warnings;
  std::string error;  // why the command line is refused
};

// Flags beat variables, variables beat defaults. Flags may be --name VALUE, --name=VALUE or with one dash.
server_options read_server_options(int argc, char** argv);
const char* server_usage() noexcept;

}  // namespace caged::mcp
