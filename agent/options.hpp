// The command line and the CAGED_* variables of caged-agent.
#pragma once

#include <chrono>
#include <string>

#include "log.hpp"

namespace caged::agent {

struct options {
  std::string workspace = "/workspace";
  std::string socket = "/run/caged/agent.sock";
  std::chrono::milliseconds heartbeat_interval{5000};
  std::chrono::milliseconds metrics_interval{10000};
  log_level level = log_level::info;
  bool watch_files = true;
  std::chrono::milliseconds watch_debounce{300};
  int watch_rate_limit = 200;  // events per second
  bool subscribe = false, version = false, help = false;
  bool guest = false;  // the first process of a virtual machine
  int listen_fd = -1, env_fd = -1, ready_fd = -1;
  std::string handover;
  std::string error;  // why the command line is refused
};

// Flags beat variables, variables beat defaults. Flags may be --name VALUE or --name=VALUE.
options read_options(int argc, char** argv);
const char* usage() noexcept;
// "5s", "300ms", "1m", "1h30m", plain seconds. Negative: not a duration.
std::chrono::milliseconds parse_duration(const std::string& text);

}  // namespace caged::agent
