// Turns "call me back once" into a task: the bridge between a library's threads and coroutines.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <caged/task.hpp>
#include <functional>
#include <memory>

namespace caged {

// Called at most once, from any thread; the coroutine goes on, on its own executor, with the result. Never calling it
// leaves the coroutine suspended for good, so whoever holds one calls it.
template <class T>
using callback = std::function<void(result<T>)>;

// Calls start(callback<T>) at once, on the caller's thread, and suspends until the callback was called. The work is
// not cancelled with the coroutine: cancellation takes effect after it.
template <class T, class Start>
task<T> await_callback(Start start) {
  auto initiate = [](auto handler, Start begin) {
    auto held = std::make_shared<decltype(handler)>(std::move(handler));
    auto executor = asio::prefer(asio::get_associated_executor(*held), asio::execution::outstanding_work.tracked);
    begin(callback<T>([held = std::move(held), executor](result<T> value) mutable {
      // The handler owns the coroutine's frame: it must neither run nor die on this thread.
      asio::post(executor,
                 [held = std::move(held), value = std::move(value)]() mutable { std::move (*held)(std::move(value)); });
    }));
  };
  co_return co_await asio::async_initiate<decltype(asio::use_awaitable), void(result<T>)>(initiate, asio::use_awaitable,
                                                                                          std::move(start));
}

}  // namespace caged
