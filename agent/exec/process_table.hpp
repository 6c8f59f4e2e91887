// All processes the agent started: starting, finding, waiting for, reaping and ending them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "exec/process.hpp"
#include "fs/tree.hpp"

namespace caged::agent {

// Whose children are waited for.
enum class reaping : std::uint8_t {
  unset = 0,
  everything,  // the agent is the first process of the box, or its sub-reaper: orphans are its duty
  own,         // inside another program: only what the table started
};

class process_table {
 public:
  // `base_env`: what every workload gets; nothing of this process's own environment is passed on.
  process_table(loop& l, const tree& files, std::map<std::string, std::string> base_env, reaping how);
  ~process_table();

  // "exec.start" and "pty.start"; see sdk/wire/PROTOCOL.md for the arguments.
  std::shared_ptr<process> start_exec(const arguments& args);
  std::shared_ptr<process> start_pty(const arguments& args);

  bool knows(const std::string& id) const { return processes_.count(id) != 0; }
  std::shared_ptr<process> find(const std::string& id_or_tag) const;  // throws process_not_found
  json list() const;
  // Calls back once, when the process has finished.
  using waiter_id = std::uint64_t;
  waiter_id wait(const std::shared_ptr<process>& which, std::function<void(json)> done);
  void forget_waiter(waiter_id id);
  void on_exit(std::function<void(process&)> action) { on_exit_ = std::move(action); }

  // What starts from now on: its environment, and the control group it is in (a descriptor of cgroup.procs).
  void set_environment(std::map<std::string, std::string> env) { base_env_ = std::move(env); }
  void set_group(int procs) noexcept { group_ = procs; }
  // Those that have ended, of an earlier life of this machine.
  void forget_finished();

  // SIGCHLD came.
  void reap();
  // Sends `signal` to every process that was started here, with all that descends from it.
  void signal_all(int signal);
  std::size_t running() const;

 private:
  struct launch {
    spawn_plan plan;
    process::description about;
  };
  launch prepare(const arguments& args, process_kind kind);
  std::shared_ptr<process> enter(launch made, fd input, fd output, fd error, const arguments& args);
  void finished(process& which);
  void evict();

  loop& loop_;
  const tree& files_;
  std::map<std::string, std::string> base_env_;
  reaping reaping_;
  int group_ = -1;
  std::map<std::string, std::shared_ptr<process>> processes_;
  std::vector<std::string> finished_order_;
  struct waiter {
    waiter_id id;
    std::string process_id;
    std::function<void(json)> done;
  };
  std::vector<waiter> waiters_;
  waiter_id last_waiter_ = 0;
  std::function<void(process&)> on_exit_;
};

// `prefix` and 16 random hex digits.
std::string random_name(const char* prefix);

}  // namespace caged::agent
