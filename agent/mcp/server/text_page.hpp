// Text as it is shown to a model: bounded, valid UTF-8, without what only a terminal understands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace caged::mcp {

inline constexpr std::size_t page_bytes = 40'000;

// The longest beginning of `text` with at most `limit` bytes that does not cut a UTF-8 sequence.
std::string_view clip(std::string_view text, std::size_t limit) noexcept;
// Without a UTF-8 sequence at its end that is not complete.
std::string_view without_half(std::string_view text) noexcept;
// U+FFFD for each byte that is not UTF-8; the text itself where there is none.
std::string repaired(std::string_view text);
// Without escape sequences and control characters, repaired.
std::string plain(std::string_view text);

// The head and the tail of something that may be endless.
class head_and_tail {
 public:
  explicit head_and_tail(std::size_t limit) : half_(limit / 2) {}
  void append(std::string_view bytes);
  std::uint64_t total() const noexcept { return total_; }
  bool cut() const noexcept { return total_ > head_.size() + tail_size(); }
  // With a line that says how much was left out where something was.
  std::string text() const;

 private:
  std::size_t tail_size() const noexcept { return tail_.size() < half_ ? tail_.size() : half_; }
  std::size_t half_;
  std::string head_, tail_;
  std::uint64_t total_ = 0;
};

}  // namespace caged::mcp
