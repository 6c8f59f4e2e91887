#include "backend.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caged/await_callback.hpp>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
constexpr auto connect_deadline = 2s;

// An exception of blocking work is a bug or lost infrastructure; the awaiting coroutine gets it as an error.
template <class T, class F>
result<T> guarded(F& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return fail(errc::internal, "jail_failed", std::string("the jail failed: ") + e.what(), "Report this as a bug.");
  }
}

}  // namespace

backend::backend(host& from, const json& config)
    : host_(from), keeper_(std::make_shared<keeper>(read_settings(config, from), from)) {}

// `work` is a named local of the caller: gcc 12 miscompiles a closure that is made inside a co_await.
template <class T, class F>
task<T> backend::on_pool(F work) {
  auto pool = host_.blocking_executor();
  return await_callback<T>(
      [pool, work](callback<T> done) { asio::post(pool, [work, done]() mutable { done(guarded<T>(work)); }); });
}

task<void> backend::open() {
  auto k = keeper_;
  auto work = [k] { return k->open(); };
  co_return co_await on_pool<void>(std::move(work));
}

task<void> backend::close() {
  auto k = keeper_;
  auto work = [k]() -> result<void> {
    k->close();
    return {};
  };
  co_return co_await on_pool<void>(std::move(work));
}

task<box_info> backend::make(box_spec spec) {
  auto k = keeper_;
  auto work = [k, spec]() -> result<box_info> {
    auto made = k->make(spec);
    if (!made) return made.error();
    const std::lock_guard lock((*made)->guard);
    return describe_box((*made)->record);
  };
  co_return co_await on_pool<box_info>(std::move(work));
}

task<box_stream> backend::connect(std::string id) {
  auto executor = co_await asio::this_coro::executor;
  const auto until = std::chrono::steady_clock::now() + connect_deadline;
  asio::steady_timer timer(executor);
  for (;;) {
    unique_fd fd;
    // Never blocks: a full queue of the agent answers at once.
    auto tried = keeper_->try_connect(id, fd);
    if (!tried) co_return tried.error();
    if (*tried == keeper::attempt::connected) {
      box_stream stream(executor);
      boost::system::error_code ec;
      stream.assign(asio::generic::stream_protocol(AF_UNIX, 0), fd.get(), ec);
      if (ec) co_return errno_error(ec.value(), "use the agent's socket");
      fd.release();
      co_return std::move(stream);
    }
    if (std::chrono::steady_clock::now() > until) {
      co_return fail(errc::deadline_exceeded, "agent_busy",
                     "the agent of the box \"" + id + "\" takes no more connections",
                     "Close connections, or try again.");
    }
    timer.expires_after(2ms);
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec) co_return fail(errc::cancelled, "cancelled", "the connection was cancelled");
  }
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

task<box_end> backend::wait(std::string id) {
  auto found = keeper_->find(id);
  if (!found) co_return found.error();
  std::shared_ptr<box> b = *found;
  const int copy = ::fcntl(b->pidfd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) co_return errno_error(errno, "watch the sandbox's first process");
  auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor ended(executor, copy);
  auto [ec] = co_await ended.async_wait(asio::posix::stream_descriptor::wait_read, use_tuple);
  if (ec) co_return fail(errc::cancelled, "cancelled", "the wait for the sandbox's end was cancelled");
  auto k = keeper_;
  auto work = [k, b]() -> result<box_end> { return k->end_of(*b); };
  co_return co_await on_pool<box_end>(std::move(work));
}

task<std::vector<box_info>> backend::adopt(std::vector<std::string> known) {
  auto k = keeper_;
  auto work = [k, known] { return k->adopt(known); };
  co_return co_await on_pool<std::vector<box_info>>(std::move(work));
}

task<std::vector<std::string>> backend::images() { co_return keeper_->images(); }

task<void> backend::offer(std::vector<vmm_template> all) {
  auto k = keeper_;
  auto work = [k, all] { return k->offer(all); };
  co_return co_await on_pool<void>(std::move(work));
}

task<std::vector<std::string>> backend::roots_in_use() {
  auto k = keeper_;
  auto work = [k]() -> result<std::vector<std::string>> { return k->roots_in_use(); };
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
  auto work = [k, spec]() -> result<box_info> {
    auto made = k->restore(spec);
    if (!made) return made.error();
    const std::lock_guard lock((*made)->guard);
    return describe_box((*made)->record);
  };
  co_return co_await on_pool<box_info>(std::move(work));
}

task<void> backend::remove_snapshot(std::string snapshot_id) {
  auto k = keeper_;
  auto work = [k, snapshot_id] { return k->remove_snapshot(snapshot_id); };
  co_return co_await on_pool<void>(std::move(work));
}

task<void> backend::export_snapshot(std::string snapshot_id, int fd) {
  auto k = keeper_;
  auto to = std::make_shared<unique_fd>(fd);
  auto work = [k, snapshot_id, to] { return k->export_snapshot(snapshot_id, std::move(*to)); };
  co_return co_await on_pool<void>(std::move(work));
}

task<snapshot_info> backend::import_snapshot(std::string snapshot_id, int fd, std::uint64_t most_bytes) {
  auto k = keeper_;
  auto from = std::make_shared<unique_fd>(fd);
  auto work = [k, snapshot_id, from, most_bytes] {
    return k->import_snapshot(snapshot_id, std::move(*from), most_bytes);
  };
  co_return co_await on_pool<snapshot_info>(std::move(work));
}

task<void> backend::mark_files(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->mark_files(id); };
  co_return co_await on_pool<void>(std::move(work));
}

task<std::vector<box_change>> backend::changes(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->changes(id); };
  co_return co_await on_pool<std::vector<box_change>>(std::move(work));
}

task<box_gate> backend::open_gate(std::string id) {
  auto k = keeper_;
  auto work = [k, id] { return k->open_gate(id); };
  co_return co_await on_pool<box_gate>(std::move(work));
}

task<std::vector<owned_fd>> backend::inner_sockets(std::string id, int family, unsigned count) {
  auto k = keeper_;
  auto work = [k, id, family, count] { return k->inner_sockets(id, family, count); };
  co_return co_await on_pool<std::vector<owned_fd>>(std::move(work));
}

void* backend::find_extension(std::string_view name) noexcept {
  if (name == vmm_network::interface_name) return static_cast<vmm_network*>(this);
  if (name == vmm_archive::interface_name) return static_cast<vmm_archive*>(this);
  if (name == vmm_templates::interface_name) return static_cast<vmm_templates*>(this);
  return vmm_backend::find_extension(name);
}

}  // namespace caged::vmm::jail
