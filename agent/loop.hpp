// The agent's one event loop: descriptors, timers and jobs that would block.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "handle.hpp"

namespace caged::agent {

using steady = std::chrono::steady_clock;

// Single-threaded. Only post() may be called from other threads.
class loop {
 public:
  using ready_handler = std::function<void(std::uint32_t events)>;
  using timer_id = std::uint64_t;

  loop();
  ~loop();
  loop(const loop&) = delete;

  // Watches a descriptor (level-triggered EPOLLIN/EPOLLOUT…). The handler may remove itself. One handler each.
  void add(int descriptor, std::uint32_t events, ready_handler handler);
  void change(int descriptor, std::uint32_t events);
  void remove(int descriptor);

  timer_id after(steady::duration delay, std::function<void()> action);
  void cancel(timer_id id);

  // Runs `work` on a thread of its own, then `done` on the loop. At most `max_jobs` at once, the rest wait.
  void run_job(std::function<void()> work, std::function<void()> done);
  // Runs `action` on the loop soon. From any thread.
  void post(std::function<void()> action);

  void run();
  void stop() noexcept { stopped_ = true; }

  // For a program whose own loop drives this one: it calls step(), which does not wait, whenever descriptor() is
  // readable and when next_timer() has come; `changed` is called when that comes earlier than it was told before.
  int descriptor() const noexcept { return epoll_.get(); }
  void step();
  steady::time_point next_timer() const;
  void on_earlier_timer(std::function<void()> changed) { earlier_timer_ = std::move(changed); }

 private:
  struct watched {
    ready_handler handler;
    std::uint64_t serial;
  };
  struct job {
    std::function<void()> work, done;
  };
  int turn(int wait_milliseconds);
  void run_timers();
  void run_posted();
  void start_job(job next);
  int wait_time() const;

  static constexpr int max_jobs = 4;
  fd epoll_, wake_;
  std::unordered_map<int, std::shared_ptr<watched>> watched_;
  std::multimap<steady::time_point, std::pair<timer_id, std::function<void()>>> timers_;
  timer_id last_timer_ = 0;
  std::uint64_t last_serial_ = 0;
  std::vector<job> waiting_jobs_;
  int running_jobs_ = 0;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::function<void()> earlier_timer_;
  bool stopped_ = false;
};

}  // namespace caged::agent
