#include "program.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

namespace caged::testing {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

fs::path binary() { return fs::path(CAGED_BUILD_DIR) / "bin/caged"; }

struct state {
  server_home home;
  std::unique_ptr<program> process;
};
std::unique_ptr<state> the_server;

}  // namespace

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void become_caged(const std::vector<std::string>& words, const fs::path& data) {
  std::vector<std::string> all = words;
  all.insert(all.begin(), binary().string());
  std::vector<char*> arguments;
  for (auto& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::setenv("CAGED_DATA", data.c_str(), 1);
  ::setenv("HOME", data.parent_path().c_str(), 1);
  ::setenv("TERM", "xterm", 1);
  for (const char* name : {"CAGED_API_URL", "CAGED_API_KEY", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}) ::unsetenv(name);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

program::program(const fs::path& scratch, std::vector<std::string> words, const std::string& input,
                 const fs::path& data) {
  static std::atomic<int> number{0};
  base_ = scratch / ("run" + std::to_string(++number));
  std::ofstream(base_.string() + ".in", std::ios::binary) << input;
  pid_ = ::fork();
  if (pid_ != 0) return;
  const auto put = [](const std::string& file, int flags, int target) {
    const int fd = ::open(file.c_str(), flags, 0600);
    if (fd < 0 || ::dup2(fd, target) < 0) ::_exit(126);
  };
  put(base_.string() + ".in", O_RDONLY, 0);
  put(base_.string() + ".out", O_WRONLY | O_CREAT | O_TRUNC, 1);
  put(base_.string() + ".err", O_WRONLY | O_CREAT | O_TRUNC, 2);
  become_caged(words, data);
}

program::~program() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void program::send(int signal_number) const { ::kill(pid_, signal_number); }

bool program::prints(const std::string& text, std::chrono::seconds time) const {
  const auto until = clock::now() + time;
  while (clock::now() < until) {
    if (read_file(base_.string() + ".out").find(text) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

finished program::wait(std::chrono::seconds time) {
  finished out;
  const auto until = clock::now() + time;
  while (clock::now() < until) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  out.out = read_file(base_.string() + ".out");
  out.err = read_file(base_.string() + ".err");
  return out;
}

const server_home& server() {
  if (the_server) return the_server->home;
  the_server = std::make_unique<state>();
  std::string pattern = (fs::temp_directory_path() / "caged-cli-XXXXXX").string();
  the_server->home.root = ::mkdtemp(pattern.data());
  the_server->home.data = the_server->home.root / "data";
  the_server->process = std::make_unique<program>(
      the_server->home.root, std::vector<std::string>{"serve", "--listen", "127.0.0.1:0"}, "", the_server->home.data);
  const auto until = clock::now() + std::chrono::seconds(20);
  while (clock::now() < until) {
    program probe(the_server->home.root, {"ls", "--json"}, "", the_server->home.data);
    if (probe.wait(std::chrono::seconds(10)).code == 0) return the_server->home;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ADD_FAILURE() << "the server did not start: " << the_server->process->wait(std::chrono::seconds(0)).err;
  return the_server->home;
}

void stop_server() {
  if (!the_server) return;
  the_server->process->send(SIGTERM);
  const auto ended = the_server->process->wait(std::chrono::seconds(30));
  EXPECT_EQ(ended.code, 0) << ended.err;
  the_server->process.reset();
  std::error_code ignored;
  fs::remove_all(the_server->home.root, ignored);
  the_server.reset();
}

finished caged(std::vector<std::string> words, const std::string& input) {
  const server_home& home = server();
  program one(home.root, std::move(words), input, home.data);
  return one.wait(std::chrono::seconds(60));
}

}  // namespace caged::testing
