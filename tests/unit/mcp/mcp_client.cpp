#include "tests/unit/mcp/mcp_client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace caged::test {

mcp_client::mcp_client(const std::string& workspace, std::vector<std::string> flags,
                       std::map<std::string, std::string> environment) {
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) return;
  std::vector<std::string> words{CAGED_MCP_PROGRAM, "--log-level", "error", "--workspace", workspace};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(to[0], 0);
    ::dup2(from[1], 1);
    for (const auto& [name, value] : environment)
      value.empty() ? ::unsetenv(name.c_str()) : ::setenv(name.c_str(), value.c_str(), 1);
    ::execv(argv[0], argv.data());
    ::_exit(126);
  }
  ::close(to[0]);
  ::close(from[1]);
  in_ = to[1];
  out_ = from[0];
  ::signal(SIGPIPE, SIG_IGN);
  ::fcntl(in_, F_SETFL, O_NONBLOCK);
}

mcp_client::~mcp_client() {
  close_input();
  if (wait(2s) < 0 && !reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(out_);
}

void mcp_client::say(const std::string& line) { say_raw(line + "\n"); }

void mcp_client::say_raw(const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(in_, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (errno != EAGAIN) return;
    // Full in both directions: take what it says meanwhile, as every client must.
    pollfd p[2] = {{in_, POLLOUT, 0}, {out_, POLLIN, 0}};
    ::poll(p, 2, 1000);
    if ((p[1].revents & POLLIN) == 0) continue;
    char piece[65536];
    const ssize_t got = ::read(out_, piece, sizeof piece);
    if (got <= 0) return;
    held_.append(piece, static_cast<std::size_t>(got));
  }
}

json mcp_client::hear(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  std::size_t seen = 0;
  for (;;) {
    const std::size_t end = held_.find('\n', seen);
    if (end != std::string::npos) {
      const std::string line = held_.substr(0, end);
      held_.erase(0, end + 1);
      const json message = json::parse(line, nullptr, false);
      EXPECT_FALSE(message.is_discarded()) << "not a message: " << line.substr(0, 200);
      return message;
    }
    seen = held_.size();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd p{out_, POLLIN, 0};
    if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) <= 0) return nullptr;
    char piece[65536];
    const ssize_t n = ::read(out_, piece, sizeof piece);
    if (n <= 0) return nullptr;
    held_.append(piece, static_cast<std::size_t>(n));
  }
}

json mcp_client::answer(const json& id, std::chrono::milliseconds limit) {
  for (auto it = others.begin(); it != others.end(); ++it)
    if (it->is_object() && it->value("id", json()) == id) {
      json found = std::move(*it);
      others.erase(it);
      return found;
    }
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    json message =
        hear(std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()));
    if (message.is_null()) return nullptr;
    if (message.is_object() && message.value("id", json()) == id) return message;
    others.push_back(std::move(message));
  }
  return nullptr;
}

json mcp_client::request(const std::string& method, json params) {
  const int id = ++next_id;
  say(json{{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", std::move(params)}}.dump());
  json reply = answer(id);
  if (reply.is_object() && reply.contains("result")) return reply.at("result");
  EXPECT_TRUE(reply.is_object()) << "no answer to " << method;
  return reply.is_object() ? reply : json::object();
}

json mcp_client::call(const std::string& tool, json arguments) {
  return request("tools/call", {{"name", tool}, {"arguments", std::move(arguments)}});
}

std::string mcp_client::text(const std::string& tool, json arguments) {
  const json result = call(tool, std::move(arguments));
  return result.contains("content") ? result.at("content").at(0).value("text", "") : result.dump();
}

void mcp_client::initialize(const std::string& revision) {
  request("initialize", {{"protocolVersion", revision},
                         {"capabilities", json::object()},
                         {"clientInfo", {{"name", "test"}, {"version", "1"}}}});
  say(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
}

void mcp_client::close_input() {
  if (in_ >= 0) ::close(in_);
  in_ = -1;
}

void mcp_client::signal(int number) { ::kill(pid_, number); }

int mcp_client::wait(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!reaped_ && ::waitpid(pid_, &status_, WNOHANG) != pid_) {
    if (std::chrono::steady_clock::now() > until) return -1;
    ::usleep(2000);
  }
  reaped_ = true;
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
}

void mcp_workspace::SetUp() {
  char name[] = "/tmp/caged-mcp-XXXXXX";
  folder_ = ::mkdtemp(name);
  root_ = folder_ + "/ws";
  std::filesystem::create_directory(root_);
  std::filesystem::create_directory(folder_ + "/ws-secret");
  std::ofstream(folder_ + "/ws-secret/key") << "SECRET";
}

void mcp_workspace::TearDown() { std::filesystem::remove_all(folder_); }

void mcp_workspace::put(const std::string& path, const std::string& content) const {
  std::filesystem::create_directories(std::filesystem::path(root_ + "/" + path).parent_path());
  std::ofstream(root_ + "/" + path, std::ios::binary) << content;
}

std::string mcp_workspace::get(const std::string& path) const {
  std::ifstream file(root_ + "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool process_lives(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  const std::size_t name_end = line.rfind(')');
  return name_end != std::string::npos && line.substr(name_end + 2, 1) != "Z" && line.substr(name_end + 2, 1) != "X";
}

bool ends_soon(pid_t pid) {
  for (int i = 0; i < 200 && process_lives(pid); ++i) ::usleep(10000);
  return !process_lives(pid);
}

bool failed_with(const json& result, const std::string& part) {
  const bool failed = result.value("isError", false) &&
                      result.at("content").at(0).at("text").get<std::string>().find(part) != std::string::npos;
  if (!failed) ADD_FAILURE() << "expected a failure with \"" << part << "\", got " << result.dump().substr(0, 600);
  return failed;
}

}  // namespace caged::test
