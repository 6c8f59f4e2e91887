#include <caged/http_client.hpp>
#include <caged/random.hpp>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>
#include <thread>

#include "client_parts.hpp"

namespace caged::http {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds write_silence{30'000};

std::string base64(std::span<const unsigned char> bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  return out;
}

std::string masked_frame(unsigned opcode, std::string_view data) {
  std::string out;
  out.reserve(data.size() + 14);
  out += static_cast<char>(0x80 | opcode);
  const std::uint64_t n = data.size();
  const int bytes = n < 126 ? 0 : n <= 0xffff ? 2 : 8;
  out += static_cast<char>(0x80 | (bytes == 0 ? n : bytes == 2 ? 126 : 127));
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(n >> (8 * i));
  std::array<std::byte, 4> mask;
  random_bytes(mask);
  for (const auto b : mask) out += static_cast<char>(b);
  for (std::size_t i = 0; i < data.size(); ++i) out += static_cast<char>(data[i] ^ static_cast<char>(mask[i & 3]));
  return out;
}

}  // namespace

std::string websocket_key() {
  std::array<std::byte, 16> raw;
  random_bytes(raw);
  return base64({reinterpret_cast<const unsigned char*>(raw.data()), raw.size()});
}

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest;
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return base64(digest);
}

void client_websocket::state::closed(std::uint16_t why, std::string_view what) {
  {
    const std::lock_guard guard(reason_lock);
    if (code != 0) return;
    reason = what;
  }
  code = why;
}

error client_websocket::state::break_off(std::uint16_t why, const std::string& message) {
  const std::array<char, 2> payload{static_cast<char>(why >> 8), static_cast<char>(why & 255)};
  if (!close_sent.exchange(true)) static_cast<void>(send_frame(8, {payload.data(), payload.size()}));
  closed(1006, message);
  return fail(why == 1009 ? errc::too_large : errc::unavailable, "websocket_protocol", message, "Report this bug.");
}

result<void> client_websocket::state::send_frame(unsigned opcode, std::string_view data) {
  const std::string bytes = masked_frame(opcode, data);
  const std::lock_guard guard(writing);
  return link->wire->write(bytes, write_silence);
}

result<std::optional<client_websocket::state::frame>> client_websocket::state::take_frame() {
  const auto& in = link->in;
  const auto byte = [&in](std::size_t i) { return static_cast<unsigned char>(in[i]); };
  if (in.size() < 2) return std::optional<frame>{};
  frame f;
  f.last = (byte(0) & 0x80) != 0;
  f.opcode = byte(0) & 15;
  std::uint64_t length = byte(1) & 0x7f;
  if ((byte(0) & 0x70) != 0 || (byte(1) & 0x80) != 0) return break_off(1002, "the server sent a malformed frame");
  const std::size_t wide = length == 126 ? 2 : length == 127 ? 8 : 0;
  if (in.size() < 2 + wide) return std::optional<frame>{};
  if (wide > 0) length = 0;
  for (std::size_t i = 0; i < wide; ++i) length = length << 8 | byte(2 + i);
  if (f.opcode >= 8 && (length > 125 || !f.last)) return break_off(1002, "the server sent a malformed control frame");
  if (length > max_message || partial.size() + length > max_message)
    return break_off(1009, "the server sent a message larger than " + std::to_string(max_message) + " bytes");
  if (in.size() - 2 - wide < length) return std::optional<frame>{};
  f.data = in.substr(2 + wide, length);
  link->in.erase(0, 2 + wide + length);
  return std::optional<frame>(std::move(f));
}

result<std::optional<stream_message>> client_websocket::state::take_in(frame f) {
  const std::optional<stream_message> nothing;
  if (f.opcode == 9) {
    if (const auto sent = send_frame(10, f.data); sent.has_error()) return sent.error();
    return nothing;
  }
  if (f.opcode == 10) return nothing;
  if (f.opcode == 8) {
    const auto why = f.data.size() >= 2 ? static_cast<std::uint16_t>(static_cast<unsigned char>(f.data[0]) << 8 |
                                                                     static_cast<unsigned char>(f.data[1]))
                                        : std::uint16_t{1005};
    if (!close_sent.exchange(true)) static_cast<void>(send_frame(8, f.data.substr(0, 2)));
    closed(why, f.data.size() > 2 ? std::string_view(f.data).substr(2) : std::string_view{});
    return nothing;
  }
  const bool begins = f.opcode == 1 || f.opcode == 2;
  if ((!begins && f.opcode != 0) || begins == in_message) return break_off(1002, "the server sent frames out of order");
  if (begins) text = f.opcode == 1;
  in_message = !f.last;
  partial += f.data;
  if (!f.last) return nothing;
  stream_message message{text, std::move(partial)};
  partial.clear();
  return std::optional<stream_message>(std::move(message));
}

client_websocket::client_websocket(std::unique_ptr<state> s) : state_(std::move(s)) {}
client_websocket::client_websocket(client_websocket&&) noexcept = default;
client_websocket& client_websocket::operator=(client_websocket&&) noexcept = default;
client_websocket::~client_websocket() = default;
const std::string& client_websocket::subprotocol() const noexcept { return state_->subprotocol; }
std::uint16_t client_websocket::close_code() const noexcept { return state_->code; }
int client_websocket::descriptor() const noexcept { return state_->link->wire->descriptor(); }
bool client_websocket::buffered() const noexcept { return !state_->link->in.empty(); }
void client_websocket::interrupt() noexcept { state_->link->wire->interrupt(); }

std::string client_websocket::close_reason() const {
  const std::lock_guard guard(state_->reason_lock);
  return state_->reason;
}

result<std::optional<stream_message>> client_websocket::read(milliseconds wait) {
  const std::lock_guard guard(state_->reading);
  auto& s = *state_;
  const auto deadline = std::chrono::steady_clock::now() + wait;
  while (s.code == 0) {
    auto frame = s.take_frame();
    if (frame.has_error()) return frame.error();
    if (frame->has_value()) {
      auto message = s.take_in(std::move(**frame));
      if (message.has_error() || message->has_value()) return message;
      continue;
    }
    milliseconds left{0};
    if (wait.count() > 0)
      left = std::max(milliseconds{1}, std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()));
    const auto more = s.link->fill(left);
    if (more.has_error()) {
      if (more.error().code == errc::unavailable) s.closed(1006, more.error().message);
      return more.error();
    }
    if (!*more) s.closed(1006, "the server closed the connection");
  }
  return std::optional<stream_message>{};
}

result<void> client_websocket::write(stream_message message) {
  if (state_->code != 0 || state_->close_sent)
    return fail(errc::cancelled, "websocket_closed", "the WebSocket is closed", "Open a new one.");
  return state_->send_frame(message.text ? 1 : 2, message.data);
}

void client_websocket::close(std::uint16_t code, std::string_view reason) {
  auto& s = *state_;
  if (s.code != 0) return;
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 255)};
  payload += reason.substr(0, 120);
  if (!s.close_sent.exchange(true)) static_cast<void>(s.send_frame(8, payload));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{1};
  while (s.code == 0 && std::chrono::steady_clock::now() < deadline) {
    if (!s.reading.try_lock()) {  // the reader will meet the answer
      std::this_thread::sleep_for(milliseconds{5});
      continue;
    }
    s.reading.unlock();
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    if (const auto message = read(std::max(left, milliseconds{1})); message.has_error()) break;
  }
  s.closed(1006, "the server did not answer the close frame");
}

}  // namespace caged::http
