// caged mcp: the platform's MCP on stdin and stdout, and the configuration of clients that start it.
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

json server_entry(const session& s, const std::string& sandbox, const std::string& url, bool typed) {
  json arguments = json::array({"mcp"});
  if (!sandbox.empty()) arguments.push_back(sandbox);
  json entry{{"command", s.program().string()}};
  if (typed) entry["type"] = "stdio";
  entry["args"] = std::move(arguments);
  // The key stays where it is: the bridge finds it as every command does.
  if (!url.empty()) entry["env"] = {{"CAGED_API_URL", url}};
  return entry;
}

std::string quoted(const std::string& text) { return json(text).dump(); }

result<int> show_config(session& s, const std::string& client, const std::string& sandbox) {
  const std::string url = s.flags().api_url;
  const std::string name = sandbox.empty() ? "caged" : "caged-" + sandbox;
  if (client == "codex") {
    std::string text = "# ~/.codex/config.toml\n[mcp_servers." + quoted(name) +
                       "]\ncommand = " + quoted(s.program().string()) + "\nargs = [\"mcp\"";
    if (!sandbox.empty()) text += ", " + quoted(sandbox);
    text += "]\n";
    if (!url.empty()) text += "env = { CAGED_API_URL = " + quoted(url) + " }\n";
    s.print(text);
    return 0;
  }
  const bool code = client == "vscode";
  if (!code && client != "claude-code" && client != "cursor")
    return fail(errc::invalid_argument, "unknown_client", "\"" + client + "\" is no client that this knows",
                "Use claude-code, cursor, codex or vscode.");
  json servers = json::object();
  servers[name] = server_entry(s, sandbox, url, client != "cursor");
  json document = json::object();
  document[code ? "servers" : "mcpServers"] = std::move(servers);
  s.note(std::string("For ") +
         (client == "cursor" ? ".cursor/mcp.json"
          : code             ? ".vscode/mcp.json"
                             : ".mcp.json") +
         ":\n");
  s.print(document.dump(2) + "\n");
  return 0;
}

}  // namespace

void add_mcp_commands(CLI::App& root, const command_set& set) {
  struct options {
    std::string sandbox, client, target;
  };
  auto o = std::make_shared<options>();
  auto* mcp = set.add(
      root, "mcp", "Speak MCP on stdin and stdout, for a client that starts this program",
      "  caged mcp                     the platform: make, use and end sandboxes\n"
      "  caged mcp cage-1a2b3c         one sandbox\n"
      "  caged mcp config claude-code > .mcp.json",
      [o](session& s) {
        if (o->sandbox == "config") return show_config(s, o->client, o->target);
        if (!o->client.empty())
          return result<int>(fail(errc::invalid_argument, "too_many_words", "there is a word too many: " + o->client,
                                  "Give one sandbox, or config CLIENT."));
        return bridge(s, o->sandbox);
      });
  mcp->add_option("sandbox", o->sandbox, "A sandbox, or the word config");
  mcp->add_option("client", o->client, "With config: claude-code, cursor, codex or vscode");
  mcp->add_option("target", o->target, "With config: the sandbox that the client gets");
}

}  // namespace caged::cli
