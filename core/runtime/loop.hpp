// The threads of a host: one loop for everything asynchronous, a small pool for blocking work.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

namespace caged::runtime {

namespace asio = boost::asio;

// One loop thread keeps the host's state free of locks (docs/decisions/0002); what would block goes to blocking().
class loop {
 public:
  explicit loop(std::size_t blocking_threads = 4);
  ~loop();  // stops and joins both

  void start();  // begins the loop thread
  asio::any_io_executor executor() { return context_.get_executor(); }
  asio::any_io_executor blocking() { return pool_.get_executor(); }
  void stop();

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::thread_pool pool_;
  std::thread thread_;
};

namespace detail {
template <class F>
auto call(F f) -> asio::awaitable<decltype(f())> {
  co_return f();
}
}  // namespace detail

// Runs `f` on `pool` and comes back with its value on the caller's executor. `f` must not refer to the caller's frame
// unless the caller cannot be cancelled meanwhile.
template <class F>
auto on_pool(asio::any_io_executor pool, F f) -> asio::awaitable<decltype(f())> {
  co_return co_await asio::co_spawn(pool, detail::call(std::move(f)), asio::use_awaitable);
}

}  // namespace caged::runtime
