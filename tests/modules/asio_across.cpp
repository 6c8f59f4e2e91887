// A plugin that uses Asio on the host's executor in every way plugins do. Were Asio's statics split between host and
// plugin, these would hang or answer falsely.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/write.hpp>
#include <caged/define_plugin.hpp>
#include <thread>

#include "tests/modules/asio_probe.hpp"

namespace caged::modules {
namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;

error differs(std::string what) { return fail(errc::internal, "asio_split", std::move(what), "Share Asio's statics."); }

task<void> echo_once(std::shared_ptr<tcp::acceptor> acceptor) {
  auto [ec, socket] = co_await acceptor->async_accept(use_tuple);
  if (ec) co_return differs("accept: " + ec.message());
  std::string data(4, '\0');
  auto [read_ec, n] = co_await asio::async_read(socket, asio::buffer(data), use_tuple);
  if (read_ec) co_return differs("read: " + read_ec.message());
  auto [write_ec, m] = co_await asio::async_write(socket, asio::buffer(data), use_tuple);
  if (write_ec) co_return differs("write: " + write_ec.message());
  co_return result<void>{};
}

task<void> say_and_listen(tcp::endpoint to) {
  tcp::socket socket(co_await asio::this_coro::executor);
  auto [ec] = co_await socket.async_connect(to, use_tuple);
  if (ec) co_return differs("connect: " + ec.message());
  const std::string sent = "ping";
  auto [write_ec, m] = co_await asio::async_write(socket, asio::buffer(sent), use_tuple);
  std::string got(4, '\0');
  auto [read_ec, n] = co_await asio::async_read(socket, asio::buffer(got), use_tuple);
  if (write_ec || read_ec || got != sent) co_return differs("the echo did not come back");
  co_return result<void>{};
}

}  // namespace

class asio_across : public tool, public asio_probe {
 public:
  asio_across(host& h, const json&) : host_(h) {}

  void* find_extension(std::string_view name) noexcept override {
    return name == asio_probe::interface_name ? static_cast<asio_probe*>(this) : nullptr;
  }

  task<void> open() override {
    asio::steady_timer timer(host_.executor(), 1ms);
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec) co_return differs("timer in open(): " + ec.message());
    co_return result<void>{};
  }

  task<void> try_timer() override {
    asio::steady_timer timer(co_await asio::this_coro::executor, 5ms);
    const auto before = std::chrono::steady_clock::now();
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec || std::chrono::steady_clock::now() - before < 5ms) co_return differs("the timer did not wait");
    co_return result<void>{};
  }

  task<void> try_sockets() override {
    using namespace asio::experimental::awaitable_operators;
    auto acceptor =
        std::make_shared<tcp::acceptor>(host_.executor(), tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    auto both = co_await (echo_once(acceptor) && say_and_listen(acceptor->local_endpoint()));
    auto& [served, asked] = both;
    if (served.has_error()) co_return served.error();
    if (asked.has_error()) co_return asked.error();
    co_return result<void>{};
  }

  task<void> try_own_strand() override {
    auto strand = asio::make_strand(host_.executor());
    if (strand.running_in_this_thread()) co_return differs("a strand says it runs where it does not");
    co_await asio::post(strand, asio::use_awaitable);
    co_await asio::dispatch(asio::bind_executor(strand, asio::use_awaitable));
    auto inside = std::make_shared<std::atomic<int>>(0);
    auto timer = std::make_shared<asio::steady_timer>(host_.executor(), 10s);
    asio::post(strand, [strand, inside, timer] {
      *inside = strand.running_in_this_thread() ? 1 : 2;
      timer->cancel();
    });
    (void)co_await timer->async_wait(use_tuple);
    if (*inside != 1) co_return differs("running_in_this_thread() is false inside the strand");
    co_return result<void>{};
  }

  task<void> try_host_strand(asio::strand<asio::any_io_executor> on) override {
    if (!on.running_in_this_thread()) co_return differs("the plugin does not see that it runs on the host's strand");
    asio::steady_timer timer(on, 2ms);
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec || !on.running_in_this_thread()) co_return differs("the host's strand is lost after an await");
    co_return result<void>{};
  }

  task<void> try_executor_identity(asio::any_io_executor same) override {
    if (same != host_.executor()) co_return differs("two handles of one executor compare unequal");
    const auto* target = same.target<asio::io_context::executor_type>();
    if (target == nullptr) co_return differs("the executor's type is not recognised");
    if (!target->running_in_this_thread()) co_return differs("the io_context's thread is not recognised");
    bool inline_run = false;
    asio::dispatch(*target, [&inline_run] { inline_run = true; });
    if (!inline_run) co_return differs("dispatch() on the loop's own thread was queued");
    co_return result<void>{};
  }

  task<void> try_cancellation_inside() override {
    auto timer = std::make_shared<asio::steady_timer>(host_.executor(), 10s);
    asio::post(host_.executor(), [timer] { timer->cancel(); });
    auto [ec] = co_await timer->async_wait(use_tuple);
    // Error categories compare by address or id: both must be one.
    if (ec != asio::error::operation_aborted) co_return differs("a cancelled wait says " + ec.message());
    co_return result<void>{};
  }

  task<void> try_race() override {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer fast(host_.executor(), 1ms), slow(host_.executor(), 10s);
    const auto before = std::chrono::steady_clock::now();
    auto winner = co_await (fast.async_wait(asio::use_awaitable) || slow.async_wait(asio::use_awaitable));
    if (winner.index() != 0 || std::chrono::steady_clock::now() - before > 5s) co_return differs("the slow one won");
    co_return result<void>{};
  }

  task<void> try_blocking_pool() override {
    const auto loop = std::this_thread::get_id();
    co_await asio::co_spawn(host_.blocking_executor(), remember_thread(&pool_thread_), asio::use_awaitable);
    if (pool_thread_ == loop) co_return differs("blocking work ran on the loop");
    if (std::this_thread::get_id() != loop) co_return differs("the coroutine did not come back to the loop");
    co_return result<void>{};
  }

  task<void> wait_for_cancellation() override {
    asio::steady_timer timer(co_await asio::this_coro::executor, 10s);
    auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec != asio::error::operation_aborted) co_return differs("was not cancelled");
    co_return result<void>{};
  }

  task<void> throw_system_error() override {
    throw boost::system::system_error(asio::error::connection_refused);
    co_return result<void>{};
  }

  bool on_strand(const asio::strand<asio::any_io_executor>& on) noexcept override {
    return on.running_in_this_thread();
  }

 private:
  static asio::awaitable<void> remember_thread(std::thread::id* out) {
    *out = std::this_thread::get_id();
    co_return;
  }

  host& host_;
  std::thread::id pool_thread_;
};

}  // namespace caged::modules

CAGED_PLUGIN(caged::modules::asio_across, .summary = "Uses Asio across the .so")
