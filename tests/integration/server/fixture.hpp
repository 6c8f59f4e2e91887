// A real `caged serve` with a data folder of its own, and short ways to ask it things.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <caged/http_client.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

namespace caged::testing {

// Waits for `condition`, at most `limit`; returns whether it came true.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(10));

// The server's process. The data folder outlives it, so that another can be started on it.
class server {
 public:
  explicit server(std::filesystem::path data, std::string config = {});
  ~server();  // SIGTERM
  server(const server&) = delete;

  bool healthy() const noexcept { return healthy_; }
  pid_t pid() const noexcept { return pid_; }
  // Sends the signal and waits for the end; the wait status.
  int end(int signal);
  // Waits for an end by itself; the exit code, -1 when it did not come.
  int wait_exit(std::chrono::milliseconds limit = std::chrono::seconds(20));
  std::string log() const;
  std::string key() const;
  std::string address() const;
  http::client client(std::string key = {}) const;

 private:
  std::filesystem::path data_, log_;
  pid_t pid_ = -1;
  bool healthy_ = false;
};

// One server for all tests of a suite: starting is cheap, but not free.
class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { start_host(); }
  // For a suite whose server is configured: called in place of the above.
  static void start_host(const std::string& config = {});
  static void TearDownTestSuite();
  void TearDown() override;

  // The answer of a JSON call; a failure of the call fails the test.
  json call(const std::string& method, const std::string& target, const json& body = nullptr);
  // The error of a call that must fail.
  error refused(const std::string& method, const std::string& target, const json& body = nullptr);
  http::client_response raw(http::client_request r);
  // A running sandbox, destroyed after the test.
  std::string make(json body = json::object());
  json exec(const std::string& id, const std::string& command, json more = json::object());

  static std::unique_ptr<server> host;
  http::client http = host->client();
  std::vector<std::string> made;
};

std::filesystem::path temporary_folder();

}  // namespace caged::testing
