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

enum class isolation : std::uint8_t { unset = 0, none, jail };
enum class network_mode : std::uint8_t { unset = 0, full, allowlist, none };
enum class serve_mode : std::uint8_t { unset = 0, stdio, ws, http };

struct server_options {
  serve_mode mode = serve_mode::stdio;
  std::string listen = "127.0.0.1";
  std::uint16_t port = 9090;
  bool port_given = false;
  isolation walls = isolation::none;
  network_mode network = network_mode::full;
  std::vector<std::string> network_allow;     // patterns of hosts, for network_mode::allowlist
  std::optional<std::uint64_t> memory_bytes;  // of the jail; nullopt: three quarters of the machine's, 0: no limit
  std::string token;                          // "" = none is asked for; on loopback only
  std::vector<std::string> allowed_origins;   // of browser pages
  std::vector<std::string> allowed_hosts;     // further names this server is called by
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
// Overwrites the token on the command line, which everybody who lists processes can read, commands among them.
void hide_token(int argc, char** argv);
const char* server_usage() noexcept;

}  // namespace caged::mcp
