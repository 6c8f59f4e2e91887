#include "mcp/server/options.hpp"

#include <cstdlib>
#include <cstring>
#include <string_view>

namespace caged::mcp {
namespace {

bool read_switch(const std::string& text, bool& out) {
  out = text == "true" || text == "1" || text == "yes";
  return out || text == "false" || text == "0" || text == "no";
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    std::size_t begin = at, end = comma;
    while (begin < end && text[begin] == ' ') ++begin;
    while (end > begin && text[end - 1] == ' ') --end;
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    at = comma + 1;
  }
  return out;
}

// "512M": bytes, or K, M, G, T of them.
std::optional<std::uint64_t> read_size(const std::string& text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::size_t unit = digits < text.size() ? std::string_view("KMGT").find(text[digits]) : 0;
  if (digits == 0 || digits > 12 || digits + 1 < text.size() || unit == std::string_view::npos) return std::nullopt;
  const std::uint64_t number = std::strtoull(text.c_str(), nullptr, 10);
  return digits == text.size() ? number : number << (10 * (unit + 1));
}

// What was expected where the value does not fit, nullptr where it does, "" for an unknown name.
const char* set(server_options& o, std::string_view name, const std::string& value) {
  if (name == "mode") {
    o.mode = value == "stdio"  ? serve_mode::stdio
             : value == "ws"   ? serve_mode::ws
             : value == "http" ? serve_mode::http
                               : serve_mode::unset;
    return o.mode == serve_mode::unset ? "stdio, ws or http" : nullptr;
  }
  if (name == "listen") return o.listen = value, value.empty() ? "an address" : nullptr;
  if (name == "token") return o.token = value, value.size() < 8 ? "at least 8 characters" : nullptr;
  if (name == "allowed-origins") return o.allowed_origins = split(value), nullptr;
  if (name == "allowed-hosts") return o.allowed_hosts = split(value), nullptr;
  if (name == "memory") {
    o.memory_bytes = read_size(value);
    return o.memory_bytes && (*o.memory_bytes == 0 || *o.memory_bytes >= (32u << 20)) ? nullptr
                                                                                     : "a size of 32M or more, or 0 for no limit";
  }
  if (name == "network-allow") return o.network_allow = split(value), nullptr;
  if (name == "workspace") return o.workspace = value, value.empty() ? "a folder" : nullptr;
  if (name == "read-only") {
    bool on = false;
    if (!read_switch(value, on)) return "true or false";
    o.allowed_access = on ? access::read_only : access::read_write;
    return nullptr;
  }
  if (name == "allowed-commands") {
    // A list of nothing allows nothing; so that an empty variable does not open everything by surprise, it is an error.
    o.allowed_commands = split(value);
    return o.allowed_commands->empty() ? "names of programs, separated by commas" : nullptr;
  }
  if (name == "tool-names") {
    o.names = value == "documented"  ? tool_names::documented
              : value == "published" ? tool_names::published
                                     : tool_names::unset;
    return o.names == tool_names::unset ? "documented or published" : nullptr;
  }
  if (name == "pass-env") return o.pass_environment = split(value), nullptr;
  if (name == "log-level")
    return (o.level = agent::log_level_of(value)) != agent::log_level::unset ? nullptr : "debug, info, warn or error";
  if (name == "port") {
    const bool digits =
        !value.empty() && value.size() <= 5 && value.find_first_not_of("0123456789") == std::string::npos;
    const int port = digits ? std::atoi(value.c_str()) : 65536;
    if (port > 65535) return "a number up to 65535; 0 takes a free port";
    o.port = static_cast<std::uint16_t>(port);
    o.port_given = true;
    return nullptr;
  }
  if (name == "isolate") {
    bool on = false;
    if (!read_switch(value, on)) return "true or false";
    o.walls = on ? isolation::jail : isolation::none;
    return nullptr;
  }
  if (name == "network") {
    o.network = value == "none"        ? network_mode::none
                : value == "full"      ? network_mode::full
                : value == "allowlist" ? network_mode::allowlist
                                       : network_mode::unset;
    return o.network == network_mode::unset ? "none, allowlist or full" : nullptr;
  }
  if (name == "api-url" || name == "api-key") {
    o.warnings.push_back("--" + std::string(name) + " is ignored: this server has no tools that talk to the platform");
    return nullptr;
  }
  return "";
}

void read_variables(server_options& o) {
  for (const char* name : {"mode", "workspace", "read-only", "allowed-commands", "log-level", "tool-names", "pass-env",
                           "listen", "port", "token", "allowed-origins", "allowed-hosts", "isolate", "network",
                           "network-allow", "memory"}) {
    std::string variable = "CAGED_MCP_";
    for (const char* c = name; *c != '\0'; ++c) variable += *c == '-' ? '_' : static_cast<char>(*c - 'a' + 'A');
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    if (const char* expected = set(o, name, value)) o.error = variable + " is \"" + value + "\"; expected " + expected;
  }
}

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address == "[::1]" || address.rfind("127.", 0) == 0;
}

// What fits alone and not together.
void check_together(server_options& o) {
  if (!o.error.empty()) return;
  if (o.mode == serve_mode::stdio && o.port_given)
    o.warnings.push_back("--port has no meaning in mode stdio and is ignored");
  if (o.mode != serve_mode::stdio && o.token.empty() && !is_loopback(o.listen))
    o.error = "--listen " + o.listen +
              " lets other machines in, so it needs a token: set CAGED_MCP_TOKEN (a flag is visible to other users)";
  if (o.network != network_mode::full && o.walls != isolation::jail) o.error = "--network needs --isolate";
  if (o.network_allow.empty() == (o.network == network_mode::allowlist))
    o.error = "--network allowlist and --network-allow HOSTS need each other";
  if (o.memory_bytes && o.walls != isolation::jail) o.error = "--memory needs --isolate";
}

}  // namespace

server_options read_server_options(int argc, char** argv) {
  server_options o;
  read_variables(o);
  for (int i = 1; i < argc && o.error.empty(); ++i) {
    std::string arg = argv[i];
    if (arg.rfind('-', 0) != 0) {
      o.error = "unexpected argument \"" + arg + "\"";
      break;
    }
    arg.erase(0, arg.rfind("--", 0) == 0 ? 2 : 1);
    const std::size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    if (name == "version" || name == "help" || name == "h") {
      (name == "version" ? o.version : o.help) = true;
      continue;
    }
    const bool alone = (name == "read-only" || name == "isolate") && !has_value;
    if (!has_value && !alone && i + 1 >= argc) {
      o.error = "--" + name + " needs a value";
      break;
    }
    const std::string value = has_value ? arg.substr(equals + 1) : alone ? "true" : argv[++i];
    if (const char* expected = set(o, name, value))
      o.error =
          *expected == '\0' ? "unknown flag --" + name : "--" + name + " is \"" + value + "\"; expected " + expected;
  }
  check_together(o);
  return o;
}

void hide_token(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const std::size_t begin = arg.find_first_not_of('-'), equals = arg.find('=');
    if (begin == 0 || begin == std::string_view::npos || arg.substr(begin, equals - begin) != "token") continue;
    char* value = equals != std::string_view::npos ? argv[i] + equals + 1 : i + 1 < argc ? argv[++i] : nullptr;
    if (value != nullptr) std::memset(value, '*', std::strlen(value));
  }
}

const char* server_usage() noexcept {
  return "usage: caged-mcp-server [flags]\n"
         "Serves the Model Context Protocol: files, commands and git of one folder.\n"
         "  --mode stdio|ws|http       transport: stdin and stdout, WebSocket, Streamable HTTP [CAGED_MCP_MODE, "
         "stdio]\n"
         "  --listen ADDRESS           where ws and http listen; other than loopback demands a token\n"
         "                             [CAGED_MCP_LISTEN, 127.0.0.1]\n"
         "  --port N                   0 takes a free one and logs it [CAGED_MCP_PORT, 9090]\n"
         "  --token TOKEN              clients must send it as a bearer token; rather use the variable "
         "[CAGED_MCP_TOKEN]\n"
         "  --allowed-origins A,B      browser origins that may talk to it, besides its own "
         "[CAGED_MCP_ALLOWED_ORIGINS]\n"
         "  --allowed-hosts A,B        further names it is called by [CAGED_MCP_ALLOWED_HOSTS]\n"
         "  --isolate                  a jail around everything: only the workspace can be written, little else be "
         "seen\n"
         "                             [CAGED_MCP_ISOLATE, false]\n"
         "  --network none|allowlist|full\n"
         "                             what the jail lets out [CAGED_MCP_NETWORK, full]\n"
         "  --network-allow A,B        with allowlist: names, *.names, addresses, each with :port if you like\n"
         "                             [CAGED_MCP_NETWORK_ALLOW]\n"
         "  --memory SIZE              of all commands in the jail together, 2G for example; 0: no limit\n"
         "                             [CAGED_MCP_MEMORY, three quarters of the machine's]\n"
         "  --workspace DIR            the folder; no path leads out of it [CAGED_MCP_WORKSPACE, .]\n"
         "  --read-only                only file_read, file_list, file_search, git_status, git_diff, git_log\n"
         "                             [CAGED_MCP_READ_ONLY, false]\n"
         "  --allowed-commands A,B     programs that terminal_exec and process_start may run\n"
         "                             [CAGED_MCP_ALLOWED_COMMANDS, all]\n"
         "  --tool-names SET           documented (file_read) or published (filesystem_read)\n"
         "                             [CAGED_MCP_TOOL_NAMES, documented]\n"
         "  --pass-env A,B             further environment variables that commands get [CAGED_MCP_PASS_ENV]\n"
         "  --log-level LEVEL          debug, info, warn, error; JSON on stderr [CAGED_MCP_LOG_LEVEL, info]\n"
         "  --version                  print the version\n";
}

}  // namespace caged::mcp
