// Several byte streams over one (a virtio-serial port), with holds at which nothing is under way: no I/O, bounded memory.
#pragma once

#include <caged/wire/credit.hpp>
#include <caged/wire/frame.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace caged::wire {

// What a bundle tells. Called from bundle::feed(). `data` bytes are valid during the call.
class bundle_events {
 public:
  virtual ~bundle_events() = default;
  virtual void opened(std::uint32_t stream) = 0;                         // by the other side
  virtual void data(std::uint32_t stream, std::string_view bytes) = 0;   // then bundle::consumed()
  virtual void closed(std::uint32_t stream) = 0;                         // by the other side
  virtual void writable() = 0;                                           // some stream may have room again
  virtual void held() = 0;                                               // the other side sends nothing more until it goes on
  virtual void message(const std::string& text) = 0;                     // of the side channel
};

// Both sides are alike, but that one opens streams. A stream number is used once. After hold() and held() both ends
// stand between two frames; what follows on either side may be another process's bundle, begun with forget_streams().
class bundle {
 public:
  explicit bundle(bundle_events& tell) : tell_(tell) {}
  bundle(const bundle&) = delete;
  bundle& operator=(const bundle&) = delete;

  static constexpr std::size_t most_streams = 64;
  static constexpr std::size_t out_high = 256u << 10;  // no stream has room while this much waits in out()

  // Room for bytes that were read; then took(). False: the other side broke a rule, the port is of no more use.
  std::span<char> prepare() { return decoder_.prepare(); }
  bool took(std::size_t count);
  const char* problem() const noexcept { return problem_; }

  // Bytes for the port; the caller erases what it has written.
  std::string& out() noexcept { return out_; }

  // Opens a stream of this side's numbering; 0 when there are too many.
  std::uint32_t open();
  bool has(std::uint32_t stream) const { return streams_.count(stream) != 0; }
  std::size_t streams() const noexcept { return streams_.size(); }
  std::size_t room(std::uint32_t stream) const;
  void send(std::uint32_t stream, std::string_view bytes);  // at most room()
  void consumed(std::uint32_t stream, std::size_t bytes);
  void close(std::uint32_t stream);
  void message(std::string_view text) { append_message(out_, 0, text); }
  // Says that this side sends nothing more until it goes on; streams have no room meanwhile.
  void hold();
  void go_on() noexcept { holding_ = false; }
  bool holding() const noexcept { return holding_; }
  void forget_streams() { streams_.clear(); }

 private:
  struct windows {
    send_window send;
    receive_window receive;
  };
  bool on_frame(const frame& f);
  bool refuse(const char* why) noexcept;

  bundle_events& tell_;
  decoder decoder_;
  message_joiner joiner_;
  std::map<std::uint32_t, windows> streams_;
  std::string out_;
  std::uint32_t last_ = 0;
  bool holding_ = false;
  const char* problem_ = "";
};

}  // namespace caged::wire
