#include <caged/wire/frame.hpp>

#include <algorithm>
#include <cstring>

namespace caged::wire {
namespace {

constexpr std::size_t small_buffer = 8u << 10;
constexpr std::size_t bulk_buffer = data_chunk + 4096;

std::uint32_t load32(const char* at) noexcept {
  const auto* b = reinterpret_cast<const unsigned char*>(at);
  return std::uint32_t{b[0]} | std::uint32_t{b[1]} << 8 | std::uint32_t{b[2]} << 16 | std::uint32_t{b[3]} << 24;
}

void store32(char* at, std::uint32_t value) noexcept {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<char>(value >> (8 * i));
}

bool known(std::uint8_t kind) noexcept {
  return kind >= static_cast<std::uint8_t>(frame_kind::message) &&
         kind <= static_cast<std::uint8_t>(frame_kind::message_part);
}

}  // namespace

void append_frame(std::string& out, frame_kind kind, std::uint32_t channel, std::string_view payload) {
  char head[header_bytes];
  store32(head, static_cast<std::uint32_t>(header_bytes - length_bytes + payload.size()));
  head[4] = static_cast<char>(kind);
  store32(head + 5, channel);
  out.append(head, sizeof head);
  out.append(payload);
}

void append_message(std::string& out, std::uint32_t channel, std::string_view text) {
  while (text.size() > max_payload) {
    append_frame(out, frame_kind::message_part, channel, text.substr(0, max_payload));
    text.remove_prefix(max_payload);
  }
  append_frame(out, frame_kind::message, channel, text);
}

void append_credit(std::string& out, std::uint32_t channel, std::uint32_t bytes) {
  char payload[4];
  store32(payload, bytes);
  append_frame(out, frame_kind::credit, channel, std::string_view(payload, sizeof payload));
}

std::uint32_t credit_of(std::string_view payload) noexcept { return payload.size() == 4 ? load32(payload.data()) : 0; }

void decoder::compact() {
  if (start_ == 0) return;
  if (start_ < filled_) std::memmove(buffer_.data(), buffer_.data() + start_, filled_ - start_);
  filled_ -= start_;
  start_ = 0;
}

std::span<char> decoder::prepare() {
  compact();
  std::size_t want = small_buffer;
  if (filled_ >= length_bytes) {
    // next() has vetted the length before it asked for more.
    const std::size_t frame_size = length_bytes + load32(buffer_.data());
    if (frame_size > small_buffer / 2) want = std::max(std::min(frame_size, max_frame), bulk_buffer);
  }
  if (buffer_.size() < want) {
    buffer_.resize(want);
  } else if (filled_ == 0 && buffer_.size() > bulk_buffer) {
    // A big frame has passed: give its memory back.
    std::vector<char>(small_buffer).swap(buffer_);
  } else if (filled_ == buffer_.size()) {
    buffer_.resize(std::min(buffer_.size() * 2, max_frame + small_buffer));
  }
  return {buffer_.data() + filled_, buffer_.size() - filled_};
}

void decoder::feed(std::string_view bytes) {
  compact();
  if (buffer_.size() < filled_ + bytes.size()) buffer_.resize(filled_ + bytes.size());
  std::memcpy(buffer_.data() + filled_, bytes.data(), bytes.size());
  filled_ += bytes.size();
}

decoder::status decoder::next(frame& out) {
  for (;;) {
    if (!problem_.empty()) return status::broken;
    const std::size_t have = filled_ - start_;
    if (have < length_bytes) return status::need_more;
    const std::size_t length = load32(buffer_.data() + start_);
    if (length < header_bytes - length_bytes || length + length_bytes > max_frame) {
      problem_ = "a frame of " + std::to_string(length) + " bytes; a frame has 5 to " +
                 std::to_string(max_frame - length_bytes);
      return status::broken;
    }
    if (have < length + length_bytes) return status::need_more;
    const char* at = buffer_.data() + start_;
    start_ += length + length_bytes;
    const auto kind = static_cast<std::uint8_t>(at[4]);
    if (!known(kind)) continue;
    out.kind = static_cast<frame_kind>(kind);
    out.channel = load32(at + 5);
    out.payload = std::string_view(at + header_bytes, length - (header_bytes - length_bytes));
    return status::ready;
  }
}

bool message_joiner::add(const frame& part, std::string& out) {
  if (held_.size() + part.payload.size() > max_message) {
    too_large_ = true;
    held_ = {};
    return false;
  }
  if (part.kind == frame_kind::message_part) {
    held_.append(part.payload);
    return false;
  }
  out = std::move(held_);
  held_.clear();
  out.append(part.payload);
  return true;
}

}  // namespace caged::wire
