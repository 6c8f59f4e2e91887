// The frame codec of the host–agent protocol: length-prefixed frames over any byte stream; no I/O, bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace caged::wire {

// A frame on the stream: length u32 (of everything behind it), kind u8, channel u32, payload. Integers little-endian.
enum class frame_kind : std::uint8_t {
  unset = 0,         // never on the wire
  message = 1,       // a JSON document (or the last part of one). Channel 0: requests, answers, notices
  data = 2,          // bytes: stdin, stdout, PTY, file content, one watch item
  data_err = 3,      // bytes of stderr
  credit = 4,        // u32: the receiver allows this many more bytes of data and data_err on the channel
  end = 5,           // no more data in this direction
  reset = 6,         // the channel is given up; the payload may be a failure as JSON
  message_part = 7,  // a message continues in the next message or message_part frame of the same channel
};

inline constexpr std::size_t length_bytes = 4;
inline constexpr std::size_t header_bytes = 9;                         // length, kind, channel
inline constexpr std::size_t max_frame = 1u << 20;                     // a whole frame with its length field
inline constexpr std::size_t max_payload = max_frame - header_bytes;
inline constexpr std::size_t max_message = 8u << 20;                   // a message put together from its parts
inline constexpr std::size_t data_chunk = 64u << 10;                   // what senders put into one data frame

// A decoded frame. `payload` points into the decoder and is valid until its next prepare() or next().
struct frame {
  frame_kind kind = frame_kind::unset;
  std::uint32_t channel = 0;
  std::string_view payload;
};

// Appends one frame. Precondition: payload.size() <= max_payload.
void append_frame(std::string& out, frame_kind kind, std::uint32_t channel, std::string_view payload);
// Appends a message, in parts where it does not fit one frame.
void append_message(std::string& out, std::uint32_t channel, std::string_view text);
// Appends a credit frame.
void append_credit(std::string& out, std::uint32_t channel, std::uint32_t bytes);
// Reads a credit frame's payload; 0 for one that is not four bytes long.
std::uint32_t credit_of(std::string_view payload) noexcept;

// Incremental decoder. Never holds more than one frame and one read; a length over max_frame or under the header's
// rest breaks it for good. Frames of kinds it does not know are skipped: a later generation may send them.
class decoder {
 public:
  enum class status : std::uint8_t { unset = 0, need_more, ready, broken };

  // Room for at least one byte to read into; bigger when a big frame is under way. Then commit() what was read.
  std::span<char> prepare();
  void commit(std::size_t count) noexcept { filled_ += count; }
  // Copies bytes in: for tests and for callers that have them already.
  void feed(std::string_view bytes);

  status next(frame& out);
  // Why it broke, for people.
  const std::string& problem() const noexcept { return problem_; }
  std::size_t capacity() const noexcept { return buffer_.capacity(); }

 private:
  void compact();
  std::vector<char> buffer_;
  std::size_t start_ = 0;   // first byte not yet decoded
  std::size_t filled_ = 0;  // end of the bytes read
  std::string problem_;
};

// Joins message_part frames. One per channel that receives messages (in practice: channel 0 and process channels).
class message_joiner {
 public:
  // True when `out` now holds a whole message. A message over max_message sets too_large().
  bool add(const frame& part, std::string& out);
  bool too_large() const noexcept { return too_large_; }

 private:
  std::string held_;
  bool too_large_ = false;
};

}  // namespace caged::wire
