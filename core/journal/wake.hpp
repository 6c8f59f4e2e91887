// A latch between threads and one coroutine: notify() from anywhere, wait() cancellable.
#pragma once

#include <caged/task.hpp>
#include <functional>
#include <memory>
#include <mutex>

namespace caged::journal {

class wake {
 public:
  // Thread-safe, never blocks for long. A notification without a waiter is kept for the next wait().
  void notify();

  // Suspends until notified; returns at once when that happened since the last wait(). One waiter at a time. Returns
  // early when the coroutine is cancelled; the caller looks at its cancellation state.
  asio::awaitable<void> wait();

 private:
  struct state {
    std::mutex mutex;
    bool notified = false;
    std::function<void()> resume;
  };
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

}  // namespace caged::journal
