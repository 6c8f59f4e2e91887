// MCP on a WebSocket: one message per text message, the session is the socket.
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "lane.hpp"

namespace caged::mcp {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::size_t max_unsent = 8u << 20;

class socket_outlet : public outlet {
 public:
  explicit socket_outlet(asio::any_io_executor on) : signal(on), taken(on) {
    signal.expires_at(asio::steady_timer::time_point::max());
    taken.expires_at(asio::steady_timer::time_point::max());
  }
  void send(std::string text, kind, int) override {
    bytes += text.size();
    queue.push_back(std::move(text));
    signal.cancel();
  }
  std::deque<std::string> queue;
  std::size_t bytes = 0;
  asio::steady_timer signal, taken;
};

bool offers_mcp(std::string_view list) {
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    std::string_view one = list.substr(at, comma - at);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (one == "mcp") return true;
    at = comma + 1;
  }
  return false;
}

asio::awaitable<void> write_all(std::shared_ptr<http::websocket> ws, std::shared_ptr<socket_outlet> out) {
  while (true) {
    while (!out->queue.empty()) {
      stream_message m;
      m.data = std::move(out->queue.front());
      out->queue.pop_front();
      out->bytes -= m.data.size();
      out->taken.cancel();
      const auto sent = co_await ws->write(std::move(m));
      if (sent.has_error()) co_return;
    }
    co_await out->signal.async_wait(use_tuple);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
}

asio::awaitable<void> read_all(std::shared_ptr<http::websocket> ws, std::shared_ptr<socket_outlet> out,
                               std::shared_ptr<dialog> d) {
  while (true) {
    // A client that does not read is not served further until it does.
    while (out->bytes > max_unsent) {
      co_await out->taken.async_wait(use_tuple);
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) co_return;
    }
    auto message = co_await ws->read();
    if (message.has_error() || !message->has_value()) co_return;
    if (!(**message).text) {
      co_await ws->close(1003, "messages are JSON text");
      co_return;
    }
    d->receive((**message).data, out);
  }
}

}  // namespace

asio::awaitable<void> front_service::socket(exchange_ptr exchange, surroundings in) {
  if (!offers_mcp(exchange->head().field("sec-websocket-protocol"))) {
    auto r = refusal(400, -32000, "ask for the subprotocol \"mcp\"");
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  auto accepted = co_await exchange->accept_websocket("mcp", options_.message_bytes);
  if (accepted.has_error()) co_return;
  const std::shared_ptr<http::websocket> ws = *accepted;
  const auto out = std::make_shared<socket_outlet>(executor_);
  const auto d = dialog::make(std::move(in));
  d->unsolicited_to(out);
  std::erase_if(open_, [](const auto& weak) { return weak.expired(); });
  open_.push_back(d);
  auto reading = read_all(ws, out, d);
  auto writing = write_all(ws, out);
  co_await (std::move(reading) || std::move(writing));
  d->close();
  co_await ws->close(1000, "");
}

}  // namespace caged::mcp
