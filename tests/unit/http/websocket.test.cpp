// WebSockets: conversations, and every frame that RFC 6455 forbids.
#include "fixture.hpp"

namespace caged::http::testing {
namespace {

std::atomic<int> ended{0};

asio::awaitable<void> echo_all(std::shared_ptr<exchange> ex) {
  if (!ex->wants_websocket()) {
    response r;
    r.status = 426;
    co_await ex->respond(std::move(r));
    co_return;
  }
  const std::string offered(ex->head().field("sec-websocket-protocol"));
  auto socket = co_await ex->accept_websocket(offered, 70'000);
  if (socket.has_error()) co_return;
  // Counts also when a cancelled wait throws.
  struct at_end {
    ~at_end() { ++ended; }
  } counter;
  while (true) {
    auto message = co_await (*socket)->read();
    if (message.has_error() || !message->has_value()) break;
    if ((*message)->data == "close me") {
      co_await (*socket)->close(4001, "as you wish");
      break;
    }
    stream_message answer = std::move(**message);
    const auto sent = co_await (*socket)->write(std::move(answer));
    if (sent.has_error()) break;
  }
}

class websocket_test : public front_fixture {
 protected:
  websocket_test() {
    static_cast<void>(front_->route("", "/ws", echo_all));
    ended = 0;
  }
  // A raw socket after the handshake.
  std::unique_ptr<raw_socket> open_raw() {
    auto s = std::make_unique<raw_socket>(port_);
    s->send(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    const auto answer = s->read_until("\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 101 ")) << answer;
    EXPECT_NE(answer.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos);
    return s;
  }
  // Sends the bytes; the close code the server answers with, -1 when it closed without one.
  int code_after(std::string bytes) {
    auto s = open_raw();
    s->send(bytes);
    const auto answer = s->read_all(3s);
    EXPECT_TRUE(s->closed()) << "the socket stayed open";
    const auto close = answer.find('\x88');
    if (close == std::string::npos || answer.size() < close + 4) return -1;
    return static_cast<unsigned char>(answer[close + 2]) << 8 | static_cast<unsigned char>(answer[close + 3]);
  }
};

// A frame masked with zeros: the data stays readable.
std::string frame(int first, std::string data) {
  std::string out(1, static_cast<char>(first));
  if (data.size() < 126)
    out += static_cast<char>(0x80 | data.size());
  else
    out += {static_cast<char>(0x80 | 126), static_cast<char>(data.size() >> 8), static_cast<char>(data.size())};
  return out + std::string(4, '\0') + data;
}

TEST_F(websocket_test, forbidden_frames_end_the_conversation) {
  EXPECT_EQ(code_after(std::string("\x81\x02hi", 4)), 1002) << "unmasked";
  EXPECT_EQ(code_after(frame(0x83, "x")), 1002) << "reserved data opcode";
  EXPECT_EQ(code_after(frame(0x8b, "x")), 1002) << "reserved control opcode";
  EXPECT_EQ(code_after(frame(0xc1, "x")), 1002) << "compression was not negotiated";
  EXPECT_EQ(code_after(frame(0x09, "x")), 1002) << "fragmented control frame";
  EXPECT_EQ(code_after(frame(0x89, std::string(126, 'x'))), 1002) << "oversized control frame";
  EXPECT_EQ(code_after(frame(0x80, "x")), 1002) << "continuation of nothing";
  EXPECT_EQ(code_after(frame(0x01, "x") + frame(0x81, "y")), 1002) << "a message within a message";
  EXPECT_EQ(code_after(frame(0x81, "\xff\xfe")), 1007) << "invalid UTF-8";
  EXPECT_EQ(code_after(frame(0x81, "\xed\xa0\x80")), 1007) << "a surrogate";
  EXPECT_EQ(code_after(frame(0x88, "x")), 1002) << "a close code of one byte";
  EXPECT_EQ(code_after(std::string("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14)), 1009) << "a giant length";
  EXPECT_TRUE(eventually([] { return ended == 12; })) << ended;
}

TEST_F(websocket_test, data_before_the_handshake_is_over_is_refused) {
  raw_socket s(port_);
  s.send(
      "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" +
      frame(0x81, "early"));
  EXPECT_FALSE(s.read_all(3s).starts_with("HTTP/1.1 101 "));
}

TEST_F(websocket_test, a_wrong_version_or_key_is_no_handshake) {
  for (const char* lines :
       {"Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", "Sec-WebSocket-Version: 13\r\n"}) {
    raw_socket s(port_);
    s.send("GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n" +
           std::string(lines) + "\r\n");
    EXPECT_TRUE(s.read_all().starts_with("HTTP/1.1 426 "));
  }
}

TEST_F(websocket_test, messages_of_every_size_and_byte_come_back) {
  auto c = make_client();
  auto socket = c.websocket("/ws", "terminal");
  ASSERT_TRUE(socket.has_value()) << describe(socket.error());
  EXPECT_EQ(socket->subprotocol(), "terminal");
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  for (const std::size_t size : {0u, 1u, 125u, 126u, 256u, 65'535u, 65'536u, 70'000u}) {
    stream_message message;
    message.text = false;
    while (message.data.size() < size) message.data += bytes;
    message.data.resize(size);
    ASSERT_TRUE(socket->write(message).has_value());
    const auto answer = socket->read(3s);
    ASSERT_TRUE(answer.has_value() && answer->has_value()) << size;
    EXPECT_FALSE((*answer)->text);
    EXPECT_EQ((*answer)->data, message.data);
  }
  ASSERT_TRUE(socket->write({true, "grüß"}).has_value());
  EXPECT_EQ((*socket->read(3s))->data, "grüß");
  ASSERT_TRUE(socket->write({true, "close me"}).has_value());
  const auto end = socket->read(3s);
  ASSERT_TRUE(end.has_value() && !end->has_value());
  EXPECT_EQ(socket->close_code(), 4001);
  EXPECT_EQ(socket->close_reason(), "as you wish");
}

TEST_F(websocket_test, a_message_over_the_limit_is_1009) {
  auto c = make_client();
  auto socket = c.websocket("/ws", "");
  ASSERT_TRUE(socket.has_value());
  static_cast<void>(socket->write({false, std::string(70'001, 'x')}));
  const auto end = socket->read(3s);
  EXPECT_TRUE(end.has_error() || !end->has_value());
  EXPECT_EQ(socket->close_code(), 1009);
}

TEST_F(websocket_test, fragments_with_a_ping_between_become_one_message) {
  auto s = open_raw();
  s->send(frame(0x01, "hel") + frame(0x89, "p") + frame(0x80, "lo"));
  EXPECT_NE(s->read_until("hello").find(std::string("\x8a\x01p", 3)), std::string::npos);
}

TEST_F(websocket_test, a_vanished_client_ends_the_handler_and_a_silent_one_is_pinged) {
  {
    auto s = open_raw();
    s->reset_on_close();
  }
  EXPECT_TRUE(eventually([] { return ended == 1; }));
  auto silent = open_raw();
  const auto said = silent->read_all(4s);
  EXPECT_NE(said.find('\x89'), std::string::npos) << "no ping came";
  EXPECT_TRUE(silent->closed()) << "a client that answers no ping was kept";
  EXPECT_TRUE(eventually([] { return ended == 2; }));
}

TEST_F(websocket_test, stopping_the_server_ends_conversations) {
  auto c = make_client();
  auto socket = c.websocket("/ws", "");
  ASSERT_TRUE(socket.has_value());
  // An answered message proves that the handler is in its conversation.
  ASSERT_TRUE(socket->write({true, "here"}).has_value());
  ASSERT_TRUE(socket->read(3s).has_value());
  machine_.wait(front_->stop());
  EXPECT_EQ(ended, 1);
}

}  // namespace
}  // namespace caged::http::testing
