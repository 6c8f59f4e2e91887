#include "tests/integration/server/fixture.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <caged/json_schema.hpp>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace caged::testing {

namespace fs = std::filesystem;

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

fs::path temporary_folder() {
  char name[] = "/tmp/caged-it-XXXXXX";
  return mkdtemp(name);
}

static std::string read_text(const fs::path& p) {
  std::ifstream in(p);
  return {std::istreambuf_iterator<char>(in), {}};
}

server::server(fs::path data, std::string config) : data_(std::move(data)), log_(data_ / "test.log") {
  const std::string program = std::string(CAGED_BUILD_DIR) + "/bin/caged";
  std::vector<std::string> words{program,  "serve",        "--listen",    "127.0.0.1:0",
                                 "--data", data_.string(), "--log-level", "debug"};
  if (!config.empty()) {
    const fs::path file = data_ / "config.yaml";
    std::ofstream(file) << config;
    fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
    words.insert(words.end(), {"--config", file.string()});
  }
  fs::remove(data_ / "server.json");
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
  posix_spawn_file_actions_destroy(&actions);
  const auto settled = [this] {
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -status - 1000;  // ended already; wait_exit() reads it
      return true;
    }
    return fs::exists(data_ / "server.json");
  };
  eventually(settled, std::chrono::seconds(30));
  healthy_ = pid_ > 0 && fs::exists(data_ / "server.json");
}

server::~server() {
  if (pid_ > 0) end(SIGTERM);
}

int server::end(int signal) {
  kill(pid_, signal);
  int status = 0;
  const pid_t pid = std::exchange(pid_, -1);
  const bool ended =
      eventually([pid, &status] { return waitpid(pid, &status, WNOHANG) == pid; }, std::chrono::seconds(40));
  if (!ended) {
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    ADD_FAILURE() << "the server did not stop by itself:\n" << log();
  }
  return status;
}

int server::wait_exit(std::chrono::milliseconds limit) {
  if (pid_ <= -1000) return WEXITSTATUS(-pid_ - 1000);
  int status = 0;
  const pid_t pid = pid_;
  if (!eventually([pid, &status] { return waitpid(pid, &status, WNOHANG) == pid; }, limit)) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string server::log() const { return read_text(log_); }

std::string server::key() const {
  std::string key = read_text(data_ / "admin.key");
  while (!key.empty() && key.back() == '\n') key.pop_back();
  return key;
}

std::string server::address() const {
  return json::parse(read_text(data_ / "server.json"))["address"].get<std::string>();
}

http::client server::client(std::string key_to_use) const {
  http::client_options o;
  o.base_url = address();
  o.api_key = key_to_use.empty() ? key() : std::move(key_to_use);
  return http::client::make(o).value();
}

std::unique_ptr<server> ServerTest::host;
static fs::path suite_data;

void ServerTest::start_host(const std::string& config) {
  suite_data = temporary_folder();
  host = std::make_unique<server>(suite_data, config);
  ASSERT_TRUE(host->healthy()) << host->log();
}

void ServerTest::TearDownTestSuite() {
  host.reset();
  fs::remove_all(suite_data);
}

void ServerTest::TearDown() {
  for (const auto& id : made) (void)http.call("DELETE", "/v1/sandboxes/" + id);
}

// The schema that /openapi.json promises for an answer; null when the route is not in it.
static json promised(const json& api, const std::string& method, const std::string& target) {
  std::string verb = method;
  std::transform(verb.begin(), verb.end(), verb.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto parts = [](std::string_view path) {
    std::vector<std::string> out;
    std::istringstream in{std::string(path.substr(0, path.find('?')))};
    for (std::string part; std::getline(in, part, '/');) out.push_back(part);
    return out;
  };
  const auto wanted = parts(target);
  for (const auto& [path, methods] : api.at("paths").items()) {
    const auto have = parts(path);
    if (have.size() != wanted.size() || !methods.contains(verb)) continue;
    const bool same = std::equal(have.begin(), have.end(), wanted.begin(),
                                 [](const auto& h, const auto& w) { return h == w || h.starts_with("{"); });
    if (!same) continue;
    for (const auto& [status, response] : methods[verb]["responses"].items()) {
      const json::json_pointer schema("/content/application~1json/schema");
      if (status[0] == '2' && response.contains(schema)) return response[schema];
    }
  }
  return nullptr;
}

json ServerTest::call(const std::string& method, const std::string& target, const json& body) {
  auto r = http.call(method, target, body);
  EXPECT_TRUE(r) << method << " " << target << ": " << (r ? "" : describe(r.error()));
  if (!r) return json();
  static const json api = http.call("GET", "/openapi.json").value();
  if (const json schema = promised(api, method, target); !schema.is_null() && !r->is_null()) {
    const auto fits = json_schema::compile(schema).value().check(*r);
    EXPECT_TRUE(fits) << method << " " << target
                      << " does not answer what /openapi.json promises: " << (fits ? "" : describe(fits.error()))
                      << "\n"
                      << r->dump(1);
  }
  return *r;
}

error ServerTest::refused(const std::string& method, const std::string& target, const json& body) {
  auto r = http.call(method, target, body);
  EXPECT_FALSE(r) << method << " " << target << " should have been refused, but answered " << (r ? r->dump() : "");
  return r ? error{} : r.error();
}

http::client_response ServerTest::raw(http::client_request r) {
  auto answer = http.request(std::move(r));
  EXPECT_TRUE(answer) << (answer ? "" : describe(answer.error()));
  return answer ? *answer : http::client_response{};
}

std::string ServerTest::make(json body) {
  body["wait"] = true;
  const json box = call("POST", "/v1/sandboxes", body);
  if (!box.is_object()) return {};
  made.push_back(box.value("id", ""));
  EXPECT_EQ(box.value("status", ""), "running") << box.dump(2);
  return made.back();
}

json ServerTest::exec(const std::string& id, const std::string& command, json more) {
  more["command"] = command;
  return call("POST", "/v1/sandboxes/" + id + "/exec", more);
}

}  // namespace caged::testing
