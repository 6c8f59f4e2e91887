// A mutex for coroutines of one executor: waiting suspends, never blocks; first come, first served.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <utility>

namespace caged::runtime {

namespace asio = boost::asio;

// Used from one thread (the loop) only. The mutex outlives every guard.
class async_mutex {
 public:
  class guard {
   public:
    guard() = default;
    explicit guard(async_mutex& m) : mutex_(&m) {}
    guard(guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    guard& operator=(guard&& other) noexcept {
      release();
      mutex_ = std::exchange(other.mutex_, nullptr);
      return *this;
    }
    ~guard() { release(); }
    bool owns() const noexcept { return mutex_ != nullptr; }
    void release() {
      if (auto* m = std::exchange(mutex_, nullptr)) m->unlock();
    }

   private:
    async_mutex* mutex_ = nullptr;
  };

  // Throws operation_aborted when the waiting coroutine is cancelled.
  asio::awaitable<guard> lock() {
    if (!locked_) {
      locked_ = true;
      co_return guard(*this);
    }
    waiters_.emplace_back(co_await asio::this_coro::executor);
    const auto me = std::prev(waiters_.end());
    me->timer.expires_at(asio::steady_timer::time_point::max());
    co_await me->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const bool mine = me->granted;
    waiters_.erase(me);
    if (!mine) throw boost::system::system_error(asio::error::operation_aborted);
    co_return guard(*this);
  }

 private:
  struct waiter {
    explicit waiter(asio::any_io_executor e) : timer(std::move(e)) {}
    asio::steady_timer timer;
    bool granted = false;
  };
  void unlock() {
    for (auto& w : waiters_) {
      if (w.granted) continue;
      w.granted = true;  // ownership passes on; locked_ stays set
      w.timer.cancel();
      return;
    }
    locked_ = false;
  }
  std::list<waiter> waiters_;
  bool locked_ = false;
};

}  // namespace caged::runtime
