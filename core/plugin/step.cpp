#include "core/plugin/step.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <mutex>

namespace caged::plugins {
namespace {

// Shared by the waiting thread and the coroutine; outlives whichever gives up first.
struct shared {
  std::function<task<void>()> body;
  asio::cancellation_signal cancel;  // touched on the strand only
  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false, ended = false, probed = false;
  std::string exception;
  result<void> answer;

  void mark(bool shared::*flag) {
    {
      const std::lock_guard lock(mutex);
      this->*flag = true;
    }
    changed.notify_all();
  }
  bool wait(bool shared::*flag, std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, time, [&] { return this->*flag; });
  }
};

std::string what_of(std::exception_ptr e) {
  try {
    std::rethrow_exception(e);
  } catch (const bad_result& b) {
    return describe(b.failure);
  } catch (const std::exception& s) {
    return s.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

asio::awaitable<void> drive(std::shared_ptr<shared> s) {
  s->mark(&shared::begun);
  try {
    result<void> answer = co_await s->body();
    const std::lock_guard lock(s->mutex);
    s->answer = std::move(answer);
  } catch (...) {
    const std::string what = what_of(std::current_exception());
    const std::lock_guard lock(s->mutex);
    s->exception = what;
  }
}

error late(const step_name& name, std::chrono::milliseconds deadline, const std::string& how, std::string action) {
  return fail(errc::deadline_exceeded, "plugin_late",
              "plugin " + name.plugin + ": " + name.step + " took longer than its deadline of " +
                  std::to_string(deadline.count()) + " ms" + how,
              std::move(action));
}

step_outcome finished(const step_name& name, shared& s) {
  const std::lock_guard lock(s.mutex);
  if (!s.exception.empty())
    return {ending::done,
            fail(errc::internal, "plugin_threw", "plugin " + name.plugin + ": " + name.step + " threw: " + s.exception,
                 "Report this to the plugin's author; expected failures are returned, not thrown.")};
  if (s.answer.has_value()) return {ending::done, {}};
  error e = s.answer.error();
  e.message = "plugin " + name.plugin + ": " + name.step + " failed: " + e.message;
  return {ending::done, std::move(e)};
}

}  // namespace

step_outcome run_step(asio::any_io_executor executor, step_name name, std::chrono::milliseconds deadline,
                      std::chrono::milliseconds grace, std::function<task<void>()> body) {
  auto s = std::make_shared<shared>();
  s->body = std::move(body);
  // A strand of its own: cancellation must not meet the step on another thread.
  const auto strand = asio::make_strand(executor);
  asio::post(strand, [s, strand] {
    asio::co_spawn(strand, drive(s), asio::bind_cancellation_slot(s->cancel.slot(), [s](std::exception_ptr) {
                     // The body may own what must not outlive the plugin.
                     s->body = nullptr;
                     s->mark(&shared::ended);
                   }));
  });
  if (s->wait(&shared::ended, deadline)) return finished(name, *s);

  asio::post(executor, [s] { s->mark(&shared::probed); });
  asio::post(strand, [s] { s->cancel.emit(asio::cancellation_type::all); });
  if (s->wait(&shared::ended, grace))
    return {ending::cancelled,
            late(name, deadline, " and was cancelled", "Find out what it waits for, or remove the plugin.")};
  if (!s->wait(&shared::begun, std::chrono::milliseconds(0)))
    return {ending::abandoned, late(name, deadline, "; it has not begun: the host's executor is busy or not running",
                                    "Find out what blocks the host's loop; restart the host.")};
  if (!s->wait(&shared::probed, std::chrono::milliseconds(0)))
    return {ending::abandoned, late(name, deadline, " and blocks a thread of the host",
                                    "Remove the plugin and restart the host; its author must move blocking work to "
                                    "host::blocking_executor().")};
  return {ending::abandoned, late(name, deadline, " and ignores cancellation; it is abandoned",
                                  "Remove the plugin and restart the host.")};
}

}  // namespace caged::plugins
