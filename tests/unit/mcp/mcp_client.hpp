// A client of caged-mcp-server for tests: starts the real program on a folder of its own and talks to it in lines.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace caged::test {

using nlohmann::json;
using namespace std::chrono_literals;

class mcp_client {
 public:
  // `environment` is laid over the test's own; an empty value takes a variable away.
  explicit mcp_client(const std::string& workspace, std::vector<std::string> flags = {},
                      std::map<std::string, std::string> environment = {});
  ~mcp_client();
  mcp_client(const mcp_client&) = delete;

  void say(const std::string& line);  // adds the newline
  void say_raw(const std::string& bytes);
  // The next message, whichever it is; null at the end of output or when none comes in time.
  json hear(std::chrono::milliseconds limit = 10s);
  // The answer to `id`; what else comes meanwhile is kept in `others`.
  json answer(const json& id, std::chrono::milliseconds limit = 10s);
  json request(const std::string& method, json params = json::object());
  // The result of a tool; the whole message where it is a protocol error.
  json call(const std::string& tool, json arguments = json::object());
  std::string text(const std::string& tool, json arguments = json::object());
  void initialize(const std::string& revision = "2025-11-25");
  void close_input();
  void signal(int number);
  // Exit status of the program, -1 when it does not end in time.
  int wait(std::chrono::milliseconds limit = 5s);
  pid_t pid() const { return pid_; }

  std::vector<json> others;
  int next_id = 1000;

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, status_ = 0;
  bool reaped_ = false;
  std::string held_;
};

// A fresh folder with `ws` in it, and `ws-secret` beside it.
class mcp_workspace : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  void put(const std::string& path, const std::string& content) const;
  std::string get(const std::string& path) const;
  std::string folder_, root_;
};

// A process that is dead and not waited for does not live.
bool process_lives(pid_t pid);
bool ends_soon(pid_t pid);
bool failed_with(const json& result, const std::string& part);

}  // namespace caged::test
