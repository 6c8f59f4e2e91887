// A WebSocket on a connection of the front.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "connection.hpp"

namespace caged::http {

class ws_session : public websocket, public std::enable_shared_from_this<ws_session> {
 public:
  explicit ws_session(std::shared_ptr<connection> owner);

  task<void> accept(parsed_head head, std::string subprotocol, std::size_t max_message);
  task<std::optional<stream_message>> read() override;
  task<void> write(stream_message message) override;
  asio::awaitable<void> close(std::uint16_t code, std::string reason) override;
  bool open() const noexcept { return open_; }

 private:
  task<std::optional<stream_message>> read_here();
  static asio::awaitable<void> pump(std::shared_ptr<ws_session> self);
  task<void> write_here(stream_message message);
  asio::awaitable<void> close_here(std::uint16_t code, std::string reason);

  std::shared_ptr<connection> owner_;
  boost::beast::websocket::stream<tcp::socket&, false> stream_;
  boost::beast::flat_buffer buffer_;
  asio::steady_timer turn_;   // writers wait here for theirs
  // Beast cannot go on after a cancelled read; so one coroutine reads, a message ahead, and read() may be cancelled.
  asio::steady_timer arrived_, taken_;
  std::optional<stream_message> inbox_;
  std::optional<result<std::optional<stream_message>>> end_;  // how reading ended, until it was told
  bool pumping_ = false;
  bool writing_ = false;
  bool open_ = false;
};

}  // namespace caged::http
