// caged mcp: the platform's MCP on stdin and stdout, and the configuration of clients that start it.
#include <core/cli/client_config.hpp>
#include <core/cli/commands.hpp>

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include <thread>

namespace caged::cli {
namespace {

constexpr std::size_t longest_line = 16u << 20;

std::string endpoint_path(const std::string& sandbox) {
  return sandbox.empty() ? "/mcp/ws" : sandbox_path(sandbox, "/mcp");
}

// Lines of stdin as messages, until it ends. What is longer than any server takes ends it, too.
void send_lines(http::client_websocket& to) {
  std::string held;
  char piece[65536];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    held.append(piece, static_cast<std::size_t>(n));
    std::size_t from = 0;
    for (std::size_t end = held.find('\n'); end != std::string::npos; end = held.find('\n', from)) {
      stream_message line;
      line.data = held.substr(from, end - from);
      from = end + 1;
      if (!line.data.empty() && line.data.back() == '\r') line.data.pop_back();
      if (line.data.find_first_not_of(" \t") == std::string::npos) continue;
      if (!to.write(std::move(line))) return;
    }
    held.erase(0, from);
    if (held.size() > longest_line) break;
  }
  to.close();
}

result<int> bridge(session& s, const std::string& sandbox) {
  auto client = s.connect(start_policy::if_needed);
  if (!client) return client.error();
  auto socket = client->websocket(endpoint_path(sandbox), "mcp");
  if (!socket) return socket.error();
  // It reads from a descriptor that nobody can wake it from; the process ends with the conversation.
  std::thread sender([&socket] { send_lines(*socket); });
  sender.detach();
  while (true) {
    auto message = socket->read();
    if (!message || !*message) break;
    if (!write_all(STDOUT_FILENO, (**message).data + "\n")) break;
  }
  const std::uint16_t code = socket->close_code();
  if (code != 1000 && code != 1005 && code != 0)
    s.note("caged: the server closed the connection (" + std::to_string(code) + ")\n");
  std::_Exit(code == 1006 ? 1 : 0);
}

struct config_wish {
  std::string client, sandbox, file;
  bool write = false;
};

result<int> show_config(session& s, const config_wish& wish) {
  const auto client = parse_client(wish.client);
  if (!client) return client.error();
  mcp_entry entry;
  entry.name = wish.sandbox.empty() ? "caged" : "caged-" + wish.sandbox;
  entry.command = s.program().string();
  entry.arguments = {"mcp"};
  if (!wish.sandbox.empty()) entry.arguments.push_back(wish.sandbox);
  entry.api_url = s.flags().api_url;
  const std::filesystem::path file = wish.file.empty() ? config_file_of(*client) : std::filesystem::path(wish.file);
  if (!wish.write && wish.file.empty()) {
    auto text = with_entry(*client, "", entry);
    if (!text) return text.error();
    s.note("For " + file.string() + ", which --write changes:");
    s.print(*text);
    return 0;
  }
  auto done = write_client_config(*client, file, entry);
  if (!done) return done.error();
  if (*done == config_change::none)
    s.note(file.string() + " has it already");
  else if (*done == config_change::created)
    s.note("made " + file.string());
  else
    s.note("changed " + file.string() + "; what it was is in " + file.string() + ".caged-backup");
  return 0;
}

}  // namespace

void add_mcp_commands(CLI::App& root, const command_set& set) {
  struct options {
    std::string sandbox;
    config_wish wish;
  };
  auto o = std::make_shared<options>();
  auto* mcp = set.add(root, "mcp", "Speak MCP on stdin and stdout, for a client that starts this program",
                      "  caged mcp                     the platform: make, use and end sandboxes\n"
                      "  caged mcp cage-1a2b3c         one sandbox\n"
                      "  caged mcp config claude-code            prints what belongs into the client's configuration\n"
                      "  caged mcp config cursor cage-1a2b3c --write",
                      [o](session& s) {
                        if (o->sandbox == "config") return show_config(s, o->wish);
                        if (!o->wish.client.empty() || o->wish.write || !o->wish.file.empty())
                          return result<int>(fail(errc::invalid_argument, "only_with_config",
                                                  "a second word, --write and --file go with config only",
                                                  "Give one sandbox, or config CLIENT."));
                        return bridge(s, o->sandbox);
                      });
  mcp->add_option("sandbox", o->sandbox, "A sandbox, or the word config");
  mcp->add_option("client", o->wish.client, "With config: claude-code, cursor, codex or vscode");
  mcp->add_option("target", o->wish.sandbox, "With config: the sandbox that the client gets");
  mcp->add_flag("--write", o->wish.write,
                "With config: put it into .mcp.json, .cursor/mcp.json, .vscode/mcp.json or ~/.codex/config.toml, "
                "leaving all else there as it is");
  mcp->add_option("--file", o->wish.file, "With config: the file to put it into");
}

}  // namespace caged::cli
