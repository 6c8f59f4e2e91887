// Conversations over WebSocket.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "service.hpp"

namespace caged::rest {
namespace {

using namespace asio::experimental::awaitable_operators;

// Completes the handshake at the first use, so that an operation which refuses before that is answered with an HTTP
// status and a problem document, which every client can show.
class lazy_socket final : public duplex {
 public:
  lazy_socket(std::shared_ptr<http::exchange> ex, asio::any_io_executor on, std::string subprotocol, std::size_t most)
      : exchange_(std::move(ex)),
        on_(on),
        turn_(on, asio::steady_timer::time_point::max()),
        subprotocol_(std::move(subprotocol)),
        max_message_(most) {}

  task<std::optional<stream_message>> read() override {
    auto socket = co_await opened();
    if (socket.has_error()) co_return socket.error();
    co_return co_await (*socket)->read();
  }
  task<void> write(stream_message message) override {
    auto socket = co_await opened();
    if (socket.has_error()) co_return socket.error();
    co_return co_await (*socket)->write(std::move(message));
  }
  // To be called on the executor, as the next two.
  bool touched() const noexcept { return state_ != state::closed; }
  asio::awaitable<void> close(std::uint16_t code, std::string reason) {
    if (socket_) co_await socket_->close(code, std::move(reason));
  }
  task<std::shared_ptr<http::websocket>> open() {
    while (state_ == state::opening) co_await turn_.async_wait(use_tuple);
    if (state_ == state::closed) {
      state_ = state::opening;
      auto accepted = co_await exchange_->accept_websocket(subprotocol_, max_message_);
      if (accepted.has_value()) socket_ = *accepted;
      state_ = state::open;
      ready_ = true;
      turn_.cancel();
    }
    if (!socket_) co_return fail(errc::cancelled, "client_gone", "the WebSocket could not be opened", "");
    co_return socket_;
  }

 private:
  enum class state : std::uint8_t { unset = 0, closed, opening, open };
  // From any executor.
  task<std::shared_ptr<http::websocket>> opened() {
    if (ready_) {
      if (!socket_) co_return fail(errc::cancelled, "client_gone", "the WebSocket could not be opened", "");
      co_return socket_;
    }
    auto work = open();
    co_return co_await asio::co_spawn(on_, std::move(work), asio::use_awaitable);
  }

  std::shared_ptr<http::exchange> exchange_;
  asio::any_io_executor on_;
  asio::steady_timer turn_;
  std::string subprotocol_;
  std::size_t max_message_;
  state state_ = state::closed;
  std::atomic<bool> ready_{false};  // socket_ does not change any more
  std::shared_ptr<http::websocket> socket_;
};

// The first subprotocol the client offers: a route speaks one language, the name tells proxies and people which.
std::string first_subprotocol(std::string_view offered) {
  offered = offered.substr(0, offered.find(','));
  while (offered.starts_with(' ')) offered.remove_prefix(1);
  while (offered.ends_with(' ')) offered.remove_suffix(1);
  return offered.size() <= 64 ? std::string(offered) : std::string();
}

task<void> converse(operations& ops, call work) {
  std::string what;
  try {
    auto outcome = co_await ops.invoke(std::move(work));
    if (outcome.has_error()) co_return outcome.error();
    co_return result<void>{};
  } catch (const std::exception& e) {
    what = e.what();
  }
  co_return fail(errc::internal, "operation_failed", "the conversation failed because of a bug: " + what, "Report it.");
}

// On draining: closes the socket, which the operation meets as its end; then waits to be cancelled.
asio::awaitable<void> close_on_drain(std::shared_ptr<stream_gate> gate, std::shared_ptr<lazy_socket> socket) {
  while (!gate->closed) {
    co_await gate->signal.async_wait(use_tuple);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
  co_await socket->close(1001, "the server goes down");
  asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  co_await never.async_wait(use_tuple);
}

}  // namespace

task<void> service::run_socket(context_ptr c, call work) {
  const auto on = co_await asio::this_coro::executor;
  const auto socket = std::make_shared<lazy_socket>(
      c->exchange, on, first_subprotocol(c->exchange->head().field("sec-websocket-protocol")),
      options_.websocket_message_bytes);
  work.conversation = socket;
  const auto gate = open_gate(on);
  ++streams_;
  auto talking = converse(operations_, std::move(work));
  auto draining = close_on_drain(gate, socket);
  auto first = co_await (std::move(talking) || std::move(draining));
  --streams_;
  result<void> outcome;
  if (first.index() == 0) outcome = std::get<0>(std::move(first));
  if (outcome.has_error() && !socket->touched()) co_return outcome.error();
  c->status = 101;
  auto opened = co_await socket->open();
  if (opened.has_error()) co_return opened.error();
  if (outcome.has_error() && outcome.error().code != errc::cancelled) {
    const error& e = outcome.error();
    const json note{{"type", "error"},
                    {"reason", e.reason},
                    {"message", e.message},
                    {"action", e.action},
                    {"problem", http::problem_document(e)}};
    stream_message message;
    message.data = to_text(note);
    co_await socket->write(std::move(message));
    co_await socket->close(outcome.error().code == errc::internal ? 1011 : 1008, outcome.error().reason);
  }
  co_await socket->close(1000, "");
  co_return result<void>{};
}

}  // namespace caged::rest
