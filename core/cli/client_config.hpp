// The configuration files of MCP clients: one server of ours put into them, all else left as it is. Pure but for
// write_client_config().
#pragma once

#include <caged/json.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace caged::cli {

enum class mcp_client : std::uint8_t { unset = 0, claude_code, cursor, vscode, codex };
// invalid_argument for a name that is none of claude-code, cursor, vscode and codex.
result<mcp_client> parse_client(const std::string& name);

// A program that speaks MCP on stdin and stdout.
struct mcp_entry {
  std::string name;
  std::string command;
  std::vector<std::string> arguments;
  std::string api_url;  // handed on in the environment; "" = the client's own
};

// The file that the client reads, where --file does not name another: of the project in the working folder, but Codex
// has one per user.
std::filesystem::path config_file_of(mcp_client client);

// `text` (a whole file, "" for none) with the entry in it: added, or in place of one with that name. A file that is
// not understood is refused with what is wrong and where.
result<std::string> with_entry(mcp_client client, const std::string& text, const mcp_entry& entry);

enum class config_change : std::uint8_t { unset = 0, created, changed, none };
// The same for the file: replaced in one step, what was there kept beside it as FILE.caged-backup. Through a symbolic
// link to what it points to. Blocks.
result<config_change> write_client_config(mcp_client client, const std::filesystem::path& file, const mcp_entry& entry);

}  // namespace caged::cli
