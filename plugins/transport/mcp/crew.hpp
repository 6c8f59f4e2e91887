// Coroutines that were started from a callback: counted, so that the plugin does not go before they have ended.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caged/task.hpp>
#include <exception>
#include <memory>

namespace caged::transport_mcp {

// Single-threaded: the executor's.
class crew : public std::enable_shared_from_this<crew> {
 public:
  explicit crew(asio::any_io_executor on) : executor_(on), idle_(on) {
    idle_.expires_at(asio::steady_timer::time_point::max());
  }

  // Runs to its end. Exceptions of `work` are its own business: it catches them.
  void run(asio::awaitable<void> work) {
    ++running_;
    asio::co_spawn(executor_, std::move(work), [self = shared_from_this()](std::exception_ptr) {
      if (--self->running_ == 0) self->idle_.cancel();
    });
  }
  static asio::awaitable<void> join(std::shared_ptr<crew> self) {
    while (self->running_ > 0) co_await self->idle_.async_wait(use_tuple);
  }

 private:
  asio::any_io_executor executor_;
  asio::steady_timer idle_;
  std::size_t running_ = 0;
};

}  // namespace caged::transport_mcp
