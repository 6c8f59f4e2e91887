// One process the agent started: its pipes or terminal, its output log, the readers attached to it, and its end.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "exec/output_log.hpp"
#include "exec/spawn.hpp"
#include "loop.hpp"

namespace caged::agent {

// Someone who reads a process. Called on the loop; must not detach from inside a call.
class process_reader {
 public:
  virtual ~process_reader() = default;
  virtual void output_ready() = 0;                       // more in the log, or the end
  virtual void stdin_taken(std::size_t bytes) = 0;       // bytes of this reader's went into the process (or nowhere)
  virtual std::uint64_t position() const noexcept = 0;   // the next byte of the log it will take
};

// How a process ended. Filled only from wait4.
struct process_end {
  int status = 0;  // wait status
  rusage usage{};
  std::chrono::steady_clock::time_point at;
};

enum class process_kind : std::uint8_t { unset = 0, pipes, terminal };

class process : public std::enable_shared_from_this<process> {
 public:
  struct description {
    std::string id;
    process_kind kind = process_kind::pipes;
    std::vector<std::string> argv;
    std::string cwd, tag;
    json env = json::object();  // what the caller asked for, not the base
  };

  process(loop& l, description about, spawned started, std::uint64_t cookie, fd input, fd output, fd error);
  ~process();
  process(const process&) = delete;

  const description& about() const noexcept { return about_; }
  pid_t pid() const noexcept { return started_.pid; }
  std::uint64_t cookie() const noexcept { return cookie_; }
  const output_log& log() const noexcept { return log_; }
  bool reaped() const noexcept { return end_.has_value(); }
  bool finished() const noexcept { return finished_at_.has_value(); }
  // Where the output ends for readers; set once the process was waited for and what it wrote was read.
  std::optional<std::uint64_t> finished_at() const noexcept { return finished_at_; }
  bool busy() const noexcept { return !readers_.empty() || output_ || error_; }

  // Starts the clock of a timeout.
  void kill_after(std::chrono::milliseconds timeout);
  // wait4 has returned for it.
  void reaped(int status, const rusage& usage);
  void on_finished(std::function<void(process&)> action) { on_finished_ = std::move(action); }

  void attach(process_reader* reader);
  void detach(process_reader* reader);
  // A reader has taken output: there may be room to read more.
  void pump();

  bool has_stdin() const noexcept { return stdin_open_; }
  void write_stdin(process_reader* from, std::string bytes);
  void close_stdin();
  bool resize(int columns, int rows);  // false: no terminal
  void signal(int number);
  // Gives up the pipes: at shutdown, and for records that are let go.
  void close_pipes();

  json exit_json(std::uint64_t dropped) const;
  json summary() const;

 private:
  enum class drained : std::uint8_t { unset = 0, empty, full, closed };
  void watch(fd& which);
  drained read_some(fd& from, output_stream stream);
  drained drain();
  void drain_after_exit();
  void finish();
  std::uint64_t keep_from() const noexcept;
  void flush_stdin();
  void drop_stdin();
  void close_output(fd& which);
  void tell_readers();

  loop& loop_;
  description about_;
  spawned started_;
  std::uint64_t cookie_;
  fd input_, output_, error_;  // a terminal has its master in output_ and a copy in input_
  bool stdin_open_, stdin_ending_ = false, stdin_watched_ = false;
  bool output_paused_ = false, error_paused_ = false;
  struct chunk {
    process_reader* from;
    std::string bytes;
    std::size_t done = 0;
  };
  std::deque<chunk> stdin_queue_;
  output_log log_;
  std::vector<process_reader*> readers_;
  std::chrono::steady_clock::time_point began_;
  std::int64_t began_unix_ms_;
  std::optional<process_end> end_;
  std::optional<std::uint64_t> finished_at_;
  loop::timer_id timeout_ = 0, grace_ = 0;
  bool timed_out_ = false, killed_by_us_ = false, out_of_memory_ = false;
  std::function<void(process&)> on_finished_;
};

// "SIGTERM" for 15 and back; names without SIG and numbers as text are understood too. 0: unknown.
std::string signal_name(int number);
int signal_number(std::string_view name);

}  // namespace caged::agent
