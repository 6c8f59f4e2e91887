// Live streams as Server-Sent Events.
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <algorithm>

#include "service.hpp"

namespace caged::rest {
namespace {

using namespace asio::experimental::awaitable_operators;

std::string one_line(std::string_view text) {
  std::string out(text);
  std::erase_if(out, [](char c) { return c == '\n' || c == '\r' || c == '\0'; });
  return out;
}

std::string event_text(const stream_item& item) {
  std::string out;
  if (!item.id.empty()) out += "id: " + one_line(item.id) + "\n";
  if (!item.event.empty()) out += "event: " + one_line(item.event) + "\n";
  return out + "data: " + to_text(item.data) + "\n\n";
}

// Events and keep-alive comments share the exchange; one writes at a time.
struct event_writer {
  explicit event_writer(std::shared_ptr<http::exchange> ex, asio::any_io_executor on)
      : exchange(std::move(ex)), turn(on, asio::steady_timer::time_point::max()) {}
  std::shared_ptr<http::exchange> exchange;
  asio::steady_timer turn;
  bool busy = false;
  bool wrote = false;  // since the keep-alive looked last

  static asio::awaitable<bool> write(std::shared_ptr<event_writer> self, std::string text) {
    while (self->busy) co_await self->turn.async_wait(use_tuple);
    self->busy = true;
    const auto sent = co_await self->exchange->write(std::move(text));
    self->busy = false;
    self->wrote = true;
    self->turn.cancel();
    co_return sent.has_value();
  }
};

// The next item; an exception of the source is an error like others.
task<std::optional<stream_item>> next_item(std::shared_ptr<item_source> items) {
  std::string what;
  try {
    co_return co_await items->next();
  } catch (const std::exception& e) {
    what = e.what();
  }
  co_return fail(errc::internal, "stream_failed", "the stream failed because of a bug: " + what, "Report it.");
}

asio::awaitable<void> pump(std::shared_ptr<event_writer> out, std::shared_ptr<item_source> items) {
  while (true) {
    auto item = co_await next_item(items);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    std::string text;
    bool end = false;
    if (item.has_error()) {
      stream_item last;
      last.event = "error";
      last.data = http::problem_document(item.error());
      text = event_text(last);
      end = true;
    } else if (item->has_value()) {
      text = event_text(**item);
    } else {
      co_return;
    }
    const bool sent = co_await event_writer::write(out, std::move(text));
    if (!sent || end) co_return;
  }
}

asio::awaitable<void> keep_alive(std::shared_ptr<event_writer> out, std::chrono::milliseconds every) {
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (true) {
    pause.expires_after(every);
    const auto [ec] = co_await pause.async_wait(use_tuple);
    if (ec) co_return;
    if (std::exchange(out->wrote, false)) continue;
    const bool sent = co_await event_writer::write(out, ": keep-alive\n\n");
    if (!sent) co_return;
    out->wrote = false;
  }
}

asio::awaitable<void> wait_gate(std::shared_ptr<stream_gate> gate) {
  while (!gate->closed) {
    co_await gate->signal.async_wait(use_tuple);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
}

struct count_guard {
  explicit count_guard(std::atomic<int>& c) : counter(c) { ++counter; }
  ~count_guard() { --counter; }
  std::atomic<int>& counter;
};

}  // namespace

std::shared_ptr<stream_gate> service::open_gate(asio::any_io_executor on) {
  auto gate = std::make_shared<stream_gate>(on);
  const std::lock_guard guard(gates_lock_);
  std::erase_if(gates_, [](const auto& weak) { return weak.expired(); });
  gates_.push_back(gate);
  gate->closed = draining_.load();
  return gate;
}

task<void> service::send_items(context_ptr c, reply r) {
  const count_guard counted(streams_);
  http::headers fields = std::move(r.headers);
  fields.emplace_back("Content-Type", "text/event-stream");
  fields.emplace_back("Cache-Control", "no-cache");
  fields.emplace_back("X-Accel-Buffering", "no");
  for (const auto& field : c->extra) fields.push_back(field);
  auto sent = co_await c->exchange->start(200, std::move(fields));
  if (sent.has_error()) co_return sent;
  c->status = 200;
  if (c->exchange->head().method == "HEAD") co_return co_await c->exchange->finish();
  sent = co_await c->exchange->write("retry: 2000\n\n");
  if (sent.has_error()) co_return sent;
  const auto on = co_await asio::this_coro::executor;
  const auto out = std::make_shared<event_writer>(c->exchange, on);
  // A stream that only looks ends when the host drains, and its reader resumes elsewhere; others run to their end.
  auto gate = std::make_shared<stream_gate>(on);
  if (c->operation->method == "GET") gate = open_gate(on);
  auto pumping = pump(out, std::move(r.items));
  auto waking = keep_alive(out, options_.keep_alive);
  auto leaving = c->exchange->wait_closed();
  auto draining = wait_gate(gate);
  co_await (std::move(pumping) || std::move(waking) || std::move(leaving) || std::move(draining));
  co_return co_await c->exchange->finish();
}

}  // namespace caged::rest
