// A time limit around a task.
#pragma once

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <string>

namespace caged::runtime {

namespace asio = boost::asio;

// Suspends for `time`; returns early, without an exception, when cancelled.
inline asio::awaitable<void> sleep_for(std::chrono::steady_clock::duration time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

// The work's result, or deadline_exceeded (reason "deadline_exceeded") naming `what`. The work is cancelled then and
// has ended when this returns; work that ignores cancellation is waited for.
template <class T>
task<T> within(std::chrono::steady_clock::duration limit, std::string what, task<T> work) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  auto outcome = co_await (std::move(work) || timer.async_wait(asio::use_awaitable));
  if (outcome.index() == 0) co_return std::get<0>(std::move(outcome));
  const auto seconds = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  co_return fail(errc::deadline_exceeded, "deadline_exceeded",
                 what + " did not finish within " + std::to_string(seconds) + " ms",
                 "Try again; if it stays so, see the server's log.");
}

}  // namespace caged::runtime
