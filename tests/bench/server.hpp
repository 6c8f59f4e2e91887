// A real `caged serve` on a free port with a data folder of its own, for the time of a benchmark.
#pragma once

#include <sys/types.h>

#include <caged/http_client.hpp>
#include <filesystem>
#include <string>

namespace caged::bench {

class server {
 public:
  // Starts `program` and waits until it is healthy; throws with the end of its log when it is not within 15 s.
  // `config`: the text of a configuration file; empty for none.
  explicit server(const std::filesystem::path& program, const std::string& config = {});
  // SIGTERM, then SIGKILL after 15 s; removes the data folder.
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  pid_t pid() const noexcept { return pid_; }
  const std::filesystem::path& program() const noexcept { return program_; }
  const std::filesystem::path& data() const noexcept { return data_; }
  // A client with the first key.
  http::client connect() const;

 private:
  bool healthy();
  [[noreturn]] void give_up(const std::string& why);
  void stop() noexcept;

  std::filesystem::path program_, data_;
  pid_t pid_ = -1;
  std::string address_;
};

// A sandbox that is destroyed with this object.
class sandbox {
 public:
  explicit sandbox(http::client& c);
  ~sandbox();
  sandbox(const sandbox&) = delete;
  sandbox& operator=(const sandbox&) = delete;

  const std::string& id() const noexcept { return id_; }
  std::string route(const std::string& rest) const { return "/v1/sandboxes/" + id_ + rest; }
  // Runs a program and throws unless it printed `expected`.
  void exec(const std::vector<std::string>& argv, const std::string& expected);

 private:
  http::client& client_;
  std::string id_;
};

}  // namespace caged::bench
