// Flow control of one channel in one direction: the sender may have `initial_credit` bytes under way, then waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace caged::wire {

inline constexpr std::uint32_t initial_credit = 256u << 10;

// The sender's side.
class send_window {
 public:
  std::size_t available() const noexcept { return static_cast<std::size_t>(available_); }
  void spend(std::size_t bytes) noexcept { available_ -= bytes > available_ ? available_ : bytes; }
  // False when the peer grants more than any honest receiver would: the stream is then broken.
  bool grant(std::uint32_t bytes) noexcept {
    available_ += bytes;
    return available_ <= limit;
  }

 private:
  static constexpr std::uint64_t limit = std::uint64_t{1} << 31;
  std::uint64_t available_ = initial_credit;
};

// The receiver's side: notices a sender that ignores its window, and says when to grant again.
class receive_window {
 public:
  // False when the peer sent more than it was allowed: the stream is then broken.
  bool receive(std::size_t bytes) noexcept {
    if (bytes > open_) return false;
    open_ -= static_cast<std::uint32_t>(bytes);
    return true;
  }
  // The consumer took `bytes`. Returns what to grant now, 0 for nothing yet (grants go out in halves of a window).
  std::uint32_t consume(std::size_t bytes) noexcept {
    owed_ += static_cast<std::uint32_t>(bytes);
    if (owed_ < initial_credit / 2) return 0;
    const std::uint32_t now = owed_;
    owed_ = 0;
    open_ += now;
    return now;
  }

 private:
  std::uint32_t open_ = initial_credit;
  std::uint32_t owed_ = 0;
};

}  // namespace caged::wire
