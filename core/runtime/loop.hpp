// The threads of a host: one loop for everything asynchronous, a small pool for blocking work.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
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

// Runs `f` on `pool` and comes back with its value on the caller's executor. Cancellation takes effect afterwards: `f`
// cannot be stopped. `f` must not refer to the caller's frame unless the caller waits for it, which it does. Pass a
// named object: gcc 12 destroys a temporary of an await expression twice.
template <class F>
auto on_pool(asio::any_io_executor pool, F f) -> asio::awaitable<decltype(f())> {
  using value = decltype(f());
  auto initiate = [](auto handler, asio::any_io_executor where, F work) {
    auto held = std::make_shared<decltype(handler)>(std::move(handler));
    auto back = asio::prefer(asio::get_associated_executor(*held), asio::execution::outstanding_work.tracked);
    asio::post(where, [held = std::move(held), back, work = std::move(work)]() mutable {
      std::exception_ptr failure;
      std::optional<value> made;
      try {
        made.emplace(work());
      } catch (...) {
        failure = std::current_exception();
      }
      // The handler owns the coroutine's frame: it must neither run nor die on the pool.
      asio::post(back, [held = std::move(held), failure, made = std::move(made)]() mutable {
        std::move (*held)(failure, failure ? std::optional<value>() : std::move(made));
      });
    });
  };
  auto made =
      co_await asio::async_initiate<decltype(asio::use_awaitable), void(std::exception_ptr, std::optional<value>)>(
          initiate, asio::use_awaitable, std::move(pool), std::move(f));
  co_return std::move(*made);
}

}  // namespace caged::runtime
