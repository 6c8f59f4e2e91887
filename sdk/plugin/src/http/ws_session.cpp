#include "ws_session.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>

namespace caged::http {
namespace {

using namespace std::chrono_literals;
namespace beast = boost::beast;
namespace ws = boost::beast::websocket;

error closed() { return fail(errc::cancelled, "client_gone", "the WebSocket is closed", ""); }

// What ended a read that was not an orderly close: nothing (the client vanished), or the client's fault.
result<std::optional<stream_message>> read_end(error_code ec) {
  if (ec == ws::error::message_too_big || ec == ws::error::buffer_overflow)
    return fail(errc::too_large, "message_too_large", "a WebSocket message is larger than this server takes",
                "Send smaller messages.");
  if (ec == ws::condition::protocol_violation)
    return fail(errc::invalid_argument, "websocket_protocol",
                "the client broke the WebSocket protocol: " + ec.message(),
                "Use a WebSocket client that follows RFC 6455.");
  return std::optional<stream_message>{};
}

}  // namespace

ws_session::ws_session(std::shared_ptr<connection> owner)
    : owner_(std::move(owner)),
      stream_(owner_->socket()),
      turn_(owner_->executor(), asio::steady_timer::time_point::max()),
      arrived_(owner_->executor(), asio::steady_timer::time_point::max()),
      taken_(owner_->executor(), asio::steady_timer::time_point::max()) {}

task<void> ws_session::accept(parsed_head head, std::string subprotocol, std::size_t max_message) {
  ws::stream_base::timeout times;
  times.handshake_timeout = 1s;  // also the longest wait for the answer to our close frame
  times.idle_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(owner_->bounds().stall_time);
  times.keep_alive_pings = true;
  stream_.set_option(times);
  stream_.set_option(ws::stream_base::decorator([subprotocol](ws::response_type& answer) {
    if (!subprotocol.empty()) answer.set(beast::http::field::sec_websocket_protocol, subprotocol);
  }));
  stream_.read_message_max(max_message);
  stream_.auto_fragment(false);
  beast::http::request<beast::http::empty_body> handshake;
  handshake.method(beast::http::verb::get);
  handshake.target(head.head.target);
  handshake.version(11);
  for (const std::string_view name : {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"})
    handshake.set(beast::string_view(name.data(), name.size()), std::string(head.head.field(name)));
  const auto [ec] = co_await stream_.async_accept(handshake, use_tuple);
  if (ec) {
    owner_->shut();
    co_return closed();
  }
  open_ = true;
  co_return result<void>{};
}

task<std::optional<stream_message>> ws_session::read() {
  auto work = read_here();
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<std::optional<stream_message>> ws_session::read_here() {
  if (!pumping_) {
    if (!open_) co_return std::optional<stream_message>{};
    pumping_ = true;
    // Ends with the socket, which the connection shuts when the exchange is over.
    asio::co_spawn(owner_->executor(), pump(shared_from_this()), asio::detached);
  }
  while (!inbox_ && !end_ && open_) {
    co_await arrived_.async_wait(use_tuple);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return std::optional<stream_message>{};
  }
  if (inbox_) {
    auto message = std::exchange(inbox_, std::nullopt);
    taken_.cancel();
    co_return message;
  }
  if (auto end = std::exchange(end_, std::nullopt)) co_return *end;
  co_return std::optional<stream_message>{};
}

asio::awaitable<void> ws_session::pump(std::shared_ptr<ws_session> self) {
  while (true) {
    self->buffer_.clear();
    const auto [ec, n] = co_await self->stream_.async_read(self->buffer_, use_tuple);
    if (ec) {
      self->end_ = read_end(ec);
      self->open_ = false;
      self->turn_.cancel();
      self->arrived_.cancel();
      co_return;
    }
    self->inbox_.emplace();
    self->inbox_->text = self->stream_.got_text();
    self->inbox_->data.assign(static_cast<const char*>(self->buffer_.data().data()), n);
    if (self->buffer_.capacity() > (256u << 10)) {
      self->buffer_.clear();
      self->buffer_.shrink_to_fit();
    }
    self->arrived_.cancel();
    while (self->inbox_ && self->open_) co_await self->taken_.async_wait(use_tuple);
  }
}

task<void> ws_session::write(stream_message message) {
  auto work = write_here(std::move(message));
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<void> ws_session::write_here(stream_message message) {
  while (open_ && writing_) co_await turn_.async_wait(use_tuple);
  if (!open_) co_return closed();
  writing_ = true;
  stream_.text(message.text);
  // A client that takes nothing is cut, so that a full socket cannot hold the writer for ever.
  owner_->set_write_deadline(clock::now() + owner_->bounds().stall_time);
  const auto [ec, n] = co_await stream_.async_write(asio::buffer(message.data), use_tuple);
  owner_->set_write_deadline(clock::time_point::max());
  writing_ = false;
  turn_.cancel();
  if (!ec) co_return result<void>{};
  if (open_) {
    open_ = false;
    arrived_.cancel();
    owner_->shut();
  }
  co_return closed();
}

asio::awaitable<void> ws_session::close(std::uint16_t code, std::string reason) {
  auto work = close_here(code, std::move(reason));
  co_await on_strand(owner_->executor(), std::move(work));
}

asio::awaitable<void> ws_session::close_here(std::uint16_t code, std::string reason) {
  if (!open_) co_return;
  open_ = false;
  turn_.cancel();
  arrived_.cancel();
  taken_.cancel();  // the reader goes on: it is who sees the answer to our close frame
  if (reason.size() > 120) reason.resize(120);
  ws::close_reason why(static_cast<ws::close_code>(code), reason);
  owner_->set_write_deadline(clock::now() + 1s);
  co_await stream_.async_close(why, use_tuple);
  owner_->set_write_deadline(clock::time_point::max());
}

}  // namespace caged::http
