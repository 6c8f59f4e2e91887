#include "core/runtime/scope.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>

namespace caged::runtime {

scope::scope(asio::any_io_executor executor, std::function<void(std::string_view, std::string_view)> on_failure)
    : executor_(std::move(executor)),
      on_failure_(std::move(on_failure)),
      empty_(executor_, asio::steady_timer::time_point::max()) {}

scope::~scope() { assert(members_.empty() && "a scope must be joined before it dies"); }

void scope::spawn(std::string name, asio::awaitable<void> work) {
  if (cancelled_) return;
  members_.emplace_back();
  const auto m = std::prev(members_.end());
  m->name = std::move(name);
  asio::co_spawn(
      executor_, std::move(work),
      asio::bind_cancellation_slot(m->stop.slot(), [this, m](std::exception_ptr failure) { finished(m, failure); }));
}

void scope::finished(std::list<member>::iterator m, std::exception_ptr failure) {
  if (failure && on_failure_) {
    try {
      std::rethrow_exception(failure);
    } catch (const boost::system::system_error& e) {
      if (e.code() != asio::error::operation_aborted) on_failure_(m->name, e.what());
    } catch (const std::exception& e) {
      on_failure_(m->name, e.what());
    } catch (...) {
      on_failure_(m->name, "an exception of unknown type");
    }
  }
  members_.erase(m);
  if (members_.empty()) empty_.cancel();
}

void scope::cancel() {
  cancelled_ = true;
  // A completion may erase its own entry while the signal is emitted, hence the step before the call.
  for (auto m = members_.begin(); m != members_.end();) {
    auto current = m++;
    current->stop.emit(asio::cancellation_type::terminal);
  }
}

asio::awaitable<void> scope::join() {
  while (!members_.empty()) {
    co_await empty_.async_wait(asio::as_tuple(asio::use_awaitable));
    empty_.expires_at(asio::steady_timer::time_point::max());
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
}

}  // namespace caged::runtime
