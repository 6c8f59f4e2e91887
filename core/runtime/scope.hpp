// Structured concurrency: a scope owns the coroutines it spawned; they are cancelled and joined, never detached.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <string>

namespace caged::runtime {

namespace asio = boost::asio;

// All methods are called on the executor (the loop thread). join() must have returned before the scope dies.
class scope {
 public:
  // `on_failure` is told of an exception that left a coroutine, with the name it was spawned under.
  scope(asio::any_io_executor executor, std::function<void(std::string_view name, std::string_view what)> on_failure);
  ~scope();
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  // Begins the work soon. After cancel() it is dropped without being started.
  void spawn(std::string name, asio::awaitable<void> work);
  // Emits a terminal cancellation to everything that runs; idempotent.
  void cancel();
  // Completes when nothing runs. Does not cancel by itself.
  asio::awaitable<void> join();
  std::size_t running() const noexcept { return members_.size(); }

 private:
  struct member {
    std::string name;
    asio::cancellation_signal stop;
  };
  void finished(std::list<member>::iterator m, std::exception_ptr failure);

  asio::any_io_executor executor_;
  std::function<void(std::string_view, std::string_view)> on_failure_;
  std::list<member> members_;
  asio::steady_timer empty_;  // cancelled when the last member ends: a condition variable
  bool cancelled_ = false;
};

}  // namespace caged::runtime
