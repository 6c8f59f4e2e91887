#include "server.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace caged::bench {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

std::string read_file(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

pid_t spawn(const fs::path& program, const fs::path& data) {
  std::vector<std::string> words = {program.string(), "serve", "--data", data.string(), "--listen", "127.0.0.1:0"};
  if (fs::exists(data / "bench.yaml")) words.insert(words.end(), {"--config", (data / "bench.yaml").string()});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, (data / "bench.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::system_error(failed, std::generic_category(), "start " + program.string());
  return pid;
}

}  // namespace

server::server(const fs::path& program, const std::string& config) : program_(program) {
  std::string folder = (fs::temp_directory_path() / "caged-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "mkdtemp");
  data_ = folder;
  if (!config.empty()) std::ofstream(data_ / "bench.yaml") << config;
  try {
    pid_ = spawn(program, data_);
    const auto deadline = std::chrono::steady_clock::now() + 15s;
    while (!healthy()) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        give_up("caged serve ended");
      }
      if (std::chrono::steady_clock::now() > deadline) give_up("caged serve is not healthy after 15 s");
      std::this_thread::sleep_for(20ms);
    }
  } catch (...) {
    stop();
    throw;
  }
}

server::~server() { stop(); }

bool server::healthy() {
  const json file = json::parse(read_file(data_ / "server.json"), nullptr, false);
  if (!file.is_object()) return false;
  address_ = file.value("address", std::string{});
  if (!address_.empty() && address_.find("://") == std::string::npos) address_ = "http://" + address_;
  http::client_options options;
  options.base_url = address_;
  auto made = http::client::make(options);
  if (!made) return false;
  http::client_request request;
  request.target = "/healthz";
  auto answer = made->request(std::move(request));
  return answer && answer->ok();
}

void server::give_up(const std::string& why) {
  std::string log = read_file(data_ / "bench.log");
  if (log.size() > 2000) log.erase(0, log.size() - 2000);
  throw std::runtime_error(why + "; the end of its log:\n" + log);
}

void server::stop() noexcept {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + 15s;
    while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        break;
      }
      std::this_thread::sleep_for(20ms);
    }
    pid_ = -1;
  }
  std::error_code ignored;
  fs::remove_all(data_, ignored);
}

http::client server::connect() const {
  http::client_options options;
  options.base_url = address_;
  options.api_key = trimmed(read_file(data_ / "admin.key"));
  return http::client::make(options).value();
}

sandbox::sandbox(http::client& c) : client_(c) {
  json body = json::object();
  body["template"] = "host";
  const json made = client_.call("POST", "/v1/sandboxes?wait=true", body).value();
  id_ = made.at("id").get<std::string>();
  if (const auto status = made.at("status").get<std::string>(); status != "running") {
    throw std::runtime_error("the sandbox is " + status + ", expected running: " + made.dump());
  }
}

sandbox::~sandbox() { (void)client_.call("DELETE", "/v1/sandboxes/" + id_); }

void sandbox::exec(const std::vector<std::string>& argv, const std::string& expected) {
  json body = json::object();
  body["argv"] = argv;
  const json answer = client_.call("POST", route("/exec"), body).value();
  if (answer.at("exit_code") != json(0) || answer.at("stdout") != json(expected)) {
    throw std::runtime_error(argv[0] + " in the sandbox answered " + answer.dump());
  }
}

}  // namespace caged::bench
