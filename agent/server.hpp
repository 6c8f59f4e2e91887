// The agent itself: listens, answers requests, pushes heartbeat, metrics, exits and ports, and shuts down in order.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "connection.hpp"
#include "exec/process_table.hpp"
#include "fs/tree.hpp"
#include "loop.hpp"

namespace caged::agent {

class port_watch;
class metrics_sampler;

struct server_options {
  std::string workspace = "/workspace";
  std::map<std::string, std::string> base_env;
  std::chrono::milliseconds heartbeat_interval{5000};
  std::chrono::milliseconds metrics_interval{10000};
  reaping reap = reaping::everything;
};

class server {
 public:
  server(loop& l, server_options options);
  ~server();
  server(const server&) = delete;

  // Takes a listening socket; accepts on the loop.
  void listen(fd socket);
  void serve(fd connected);
  void on_child_signal() { processes_.reap(); }
  // SIGTERM to everything that was started, `grace`, SIGKILL, and then stops the loop.
  void shut_down(std::chrono::milliseconds grace);

  // For operations.cpp.
  loop& events() noexcept { return loop_; }
  const tree& files() const noexcept { return files_; }
  process_table& processes() noexcept { return processes_; }
  metrics_sampler& metrics() noexcept { return *metrics_; }
  json ports() const;
  void notice_all(std::string_view type, const json& data);
  // Runs `work` on a thread and answers `asked` with what it returns or throws.
  void answer_from_job(std::shared_ptr<call> asked, std::function<json(const call&)> work);

 private:
  void accept_all();
  void handle(std::shared_ptr<call> asked);
  void beat();
  void push_metrics();
  void poll_ports();
  void trim_later();
  void await_empty(steady::time_point kill_at);

  loop& loop_;
  server_options options_;
  tree files_;
  process_table processes_;
  std::unique_ptr<metrics_sampler> metrics_;
  std::unique_ptr<port_watch> ports_;
  fd listener_;
  std::map<connection*, std::shared_ptr<connection>> connections_;
  steady::time_point started_ = steady::now();
  std::uint64_t beats_ = 0;
  bool stopping_ = false, trim_due_ = false, killed_ = false;
};

}  // namespace caged::agent
