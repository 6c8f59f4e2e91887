#include "core/journal/wake.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

namespace caged::journal {

void wake::notify() {
  std::function<void()> resume;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->resume)
      resume = std::exchange(state_->resume, nullptr);
    else
      state_->notified = true;
  }
  if (resume) resume();
}

asio::awaitable<void> wake::wait() {
  auto initiate = [](auto handler, std::shared_ptr<state> s) {
    auto held = std::make_shared<decltype(handler)>(std::move(handler));
    auto executor = asio::prefer(asio::get_associated_executor(*held), asio::execution::outstanding_work.tracked);
    auto slot = asio::get_associated_cancellation_slot(*held);
    std::function<void()> resume = [held = std::move(held), executor, slot]() mutable {
      asio::post(executor, [held = std::move(held), slot]() mutable {
        if (slot.is_connected()) slot.clear();
        std::move (*held)();
      });
    };
    {
      std::lock_guard lock(s->mutex);
      if (!std::exchange(s->notified, false)) {
        s->resume = std::move(resume);
        resume = nullptr;
      }
    }
    if (resume) return resume();
    if (!slot.is_connected()) return;
    slot.assign([s](asio::cancellation_type) {
      std::function<void()> cancelled;
      {
        std::lock_guard lock(s->mutex);
        cancelled = std::exchange(s->resume, nullptr);
      }
      if (cancelled) cancelled();
    });
  };
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(initiate, asio::use_awaitable, state_);
}

}  // namespace caged::journal
