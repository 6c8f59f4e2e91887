// The three shapes of streamed data that operations take and give. Single consumer, single producer.
#pragma once

#include <caged/json.hpp>
#include <caged/task.hpp>
#include <memory>
#include <optional>
#include <string>

namespace caged {

// Bytes pulled by the consumer; backpressure is simply not calling read().
class byte_source {
 public:
  virtual ~byte_source() = default;
  // The next piece, 1 B .. 1 MiB; an empty string means the end (and again on every later call).
  virtual task<std::string> read() = 0;
  // The whole length when it is known before reading.
  virtual std::optional<std::uint64_t> size() const { return std::nullopt; }
};

// One item of a live stream. Transports write it as an SSE event, a WebSocket message or a JSON line.
struct stream_item {
  std::string id;     // resume position ("" = not resumable)
  std::string event;  // item type: "stdout", "exit", "event" …
  json data;
};

class item_source {
 public:
  virtual ~item_source() = default;
  // The next item; nullopt at the end. An error ends the stream; transports deliver it as a last "error" item.
  // Cancelling the awaiting coroutine is safe and loses no item.
  virtual task<std::optional<stream_item>> next() = 0;
};

struct stream_message {
  bool text = true;  // text frames carry JSON, binary frames raw bytes
  std::string data;
};

// A conversation: a terminal, an exec with stdin. read() and write() may be awaited at the same time, each by one
// coroutine.
class duplex {
 public:
  virtual ~duplex() = default;
  // The next message from the other side; nullopt when it closed.
  virtual task<std::optional<stream_message>> read() = 0;
  virtual task<void> write(stream_message message) = 0;
};

}  // namespace caged
