// The terminal this program runs in: raw mode, size, progress, and the signals that arrive meanwhile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <termios.h>

namespace caged::cli {

struct window_size {
  int rows = 24;
  int cols = 80;
};

// Of the terminal on standard output, input or error; 24 × 80 when there is none.
window_size terminal_size();

// Puts the terminal on standard input into raw mode; puts it back when destroyed. Does nothing without a terminal.
class raw_mode {
 public:
  raw_mode();
  ~raw_mode();
  raw_mode(const raw_mode&) = delete;
  raw_mode& operator=(const raw_mode&) = delete;
  void restore() noexcept;

 private:
  termios saved_{};
  std::atomic<bool> active_{false};
};

// A line on standard error that says what takes so long; appears after one second, only on a terminal, and is wiped
// out when destroyed. Thread-safe.
class progress {
 public:
  explicit progress(std::string what);
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  void say(std::string what);
  // Takes the line away before other output is written; no more drawing.
  void stop();

 private:
  void draw();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::string what_;
  bool stopped_ = false;
  bool drawn_ = false;
  std::thread thread_;
};

// Takes SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGWINCH away from their defaults while it lives and hands them to a
// function on a thread of its own. Make it before any other thread: it blocks the signals for all of them.
class signal_watch {
 public:
  using handler = std::function<void(int signal_number)>;

  explicit signal_watch(handler on_signal);
  ~signal_watch();
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;

  // From now on signals go here. Returns when no call of the old handler is running.
  void hand_to(handler on_signal);

 private:
  void run();

  std::mutex mutex_;
  handler handler_;
  sigset_t watched_{};
  sigset_t before_{};
  int signals_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

// An eventfd: readable from set() on. Async-signal-safe.
class event_flag {
 public:
  event_flag();
  ~event_flag();
  event_flag(const event_flag&) = delete;
  event_flag& operator=(const event_flag&) = delete;
  void set() noexcept;
  void clear() noexcept;
  bool is_set() const noexcept;
  int descriptor() const noexcept { return fd_; }

 private:
  int fd_;
};

// "SIGINT" for 2; "" when it has no name.
std::string signal_name(int number);
// 2 for "SIGINT", "INT" or "2"; 0 when it is none.
int signal_number(std::string_view name);

}  // namespace caged::cli
