#include "backend.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caged/await_callback.hpp>

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;
constexpr auto connect_deadline = 2s;

template <class T, class F>
result<T> guarded(F& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return fail(errc::internal, "qemu_failed", std::string("the qemu backend failed: ") + e.what(),
                "Report this as a bug.");
  }
}

}  // namespace

backend::backend(host& from, const json& config)
    : host_(from), keeper_(std::make_shared<keeper>(read_settings(config, from), from)) {}

void* backend::find_extension(std::string_view name) noexcept {
  if (name == vmm_standing::interface_name) return static_cast<vmm_standing*>(this);
  return vmm_backend::find_extension(name);
}

// `work` is a named local of the caller: gcc 12 miscompiles a closure that is made inside a co_await.
template <class T, class F>
task<T> backend::on_pool(F work) {
  auto pool = host_.blocking_executor();
  return await_callback<T>(
      [pool, work](callback<T> done) { asio::post(pool, [work, done]() mutable { done(guarded<T>(work)); }); });
}

task<box_stream> backend::connect(std::string id) {
  auto executor = co_await asio::this_coro::executor;
  const auto until = std::chrono::steady_clock::now() + connect_deadline;
  asio::steady_timer timer(executor);
  for (;;) {
    // Never blocks: a full queue of the agent answers at once.
    auto tried = keeper_->try_connect(id);
    if (!tried) co_return tried.error();
    if (*tried) {
      box_stream stream(executor);
      boost::system::error_code ec;
      stream.assign(asio::generic::stream_protocol(AF_UNIX, 0), tried->get(), ec);
      if (ec) co_return errno_error(ec.value(), "use the agent's socket");
      tried->release();
      co_return std::move(stream);
    }
    if (std::chrono::steady_clock::now() > until)
      co_return fail(errc::deadline_exceeded, "agent_busy",
                     "the agent of the box \"" + id + "\" takes no more connections",
                     "Close connections, or try again.");
    timer.expires_after(2ms);
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec) co_return fail(errc::cancelled, "cancelled", "the connection was cancelled");
  }
}

task<box_end> backend::wait(std::string id) {
  auto found = keeper_->find(id);
  if (!found) co_return found.error();
  std::shared_ptr<box> b = *found;
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  for (;;) {
    std::int64_t pid = 0;
    int copy = -1;
    bool asleep = false;
    {
      const std::lock_guard lock(b->guard);
      if (!b->now.process && b->destroyed) break;
      asleep = !b->now.process;  // paused: there is no process
      pid = b->now.relay;
      copy = ::fcntl(b->now.process.get(), F_DUPFD_CLOEXEC, 3);
    }
    if (asleep) {
      timer.expires_after(100ms);
      auto [cut] = co_await timer.async_wait(use_tuple);
      if (cut) co_return fail(errc::cancelled, "cancelled", "the wait for the sandbox's end was cancelled");
      continue;
    }
    if (copy < 0) co_return errno_error(errno, "watch the sandbox's first process");
    asio::posix::stream_descriptor ended(executor, copy);
    auto [ec] = co_await ended.async_wait(asio::posix::stream_descriptor::wait_read, use_tuple);
    if (ec) co_return fail(errc::cancelled, "cancelled", "the wait for the sandbox's end was cancelled");
    if (keeper_->look(*b, pid) == keeper::watch::ended) break;
    timer.expires_after(20ms);  // a restore, a pause or a resume is under way
    auto [late] = co_await timer.async_wait(use_tuple);
    if (late) co_return fail(errc::cancelled, "cancelled", "the wait for the sandbox's end was cancelled");
  }
  auto k = keeper_;
  auto work = [k, b]() -> result<box_end> { return k->end_of(*b); };
  co_return co_await on_pool<box_end>(std::move(work));
}

task<void> backend::close() {
  auto k = keeper_;
  auto work = [k]() -> result<void> {
    k->close();
    return {};
  };
  co_return co_await on_pool<void>(std::move(work));
}

task<void> backend::open() {
  auto k = keeper_;
  auto work = [k] { return k->open(); };
  co_return co_await on_pool<void>(std::move(work));
}

task<box_info> backend::make(box_spec spec) {
  auto k = keeper_;
  auto work = [k, spec] { return k->make(spec); };
  co_return co_await on_pool<box_info>(std::move(work));
}

task<void> backend::destroy(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->destroy(id); };
  co_return co_await on_pool<void>(std::move(work));
}

task<box_usage> backend::usage(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->usage(id); };
  co_return co_await on_pool<box_usage>(std::move(work));
}

task<std::vector<box_info>> backend::adopt(std::vector<std::string> known) {
  auto k = keeper_;
  auto work = [k, known] { return k->adopt(known); };
  co_return co_await on_pool<std::vector<box_info>>(std::move(work));
}

task<std::vector<std::string>> backend::images() {
  auto k = keeper_;
  auto work = [k] { return k->images(); };
  co_return co_await on_pool<std::vector<std::string>>(std::move(work));
}

task<std::vector<probe>> backend::probe_machine() {
  auto k = keeper_;
  auto work = [k] { return k->probe_machine(); };
  co_return co_await on_pool<std::vector<probe>>(std::move(work));
}

task<void> backend::pause(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->pause(id); };
  co_return co_await on_pool<void>(std::move(work));
}

task<void> backend::resume(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->resume(id); };
  co_return co_await on_pool<void>(std::move(work));
}

task<snapshot_info> backend::snapshot(std::string id, std::string snapshot_id, std::uint64_t most_bytes) {
  auto k = keeper_;
  auto work = [k, id, snapshot_id, most_bytes] { return k->snapshot(id, snapshot_id, most_bytes); };
  co_return co_await on_pool<snapshot_info>(std::move(work));
}

task<box_info> backend::restore(box_spec spec) {
  auto k = keeper_;
  auto work = [k, spec] { return k->restore(spec); };
  co_return co_await on_pool<box_info>(std::move(work));
}

task<void> backend::remove_snapshot(std::string snapshot_id) {
  auto k = keeper_;
  auto work = [k, snapshot_id] { return k->remove_snapshot(snapshot_id); };
  co_return co_await on_pool<void>(std::move(work));
}

}  // namespace caged::vmm::qemu
