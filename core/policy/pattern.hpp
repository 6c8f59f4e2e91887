// Lua patterns matched under a step budget, so that no pattern can backtrack past it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string_view>

namespace caged::policy {

// A malformed pattern, or one that would recurse or run too long. Caught where it is thrown into Lua as an error.
struct pattern_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The budget ran out inside a pattern.
struct pattern_exhausted : pattern_error {
  pattern_exhausted() : pattern_error("the pattern took too many steps") {}
};

// One subject and one pattern, with the meaning of Lua 5.4's string library. Both views must outlive the matcher.
// Every step is taken off `steps`; below zero pattern_exhausted is thrown.
class pattern_matcher {
 public:
  static constexpr int max_captures = 32;

  struct capture {
    const char* begin = nullptr;
    std::ptrdiff_t length = 0;  // of a position capture: position_capture
  };
  static constexpr std::ptrdiff_t open_capture = -1;
  static constexpr std::ptrdiff_t position_capture = -2;

  pattern_matcher(std::string_view subject, std::string_view pattern, std::int64_t& steps)
      : begin_(subject.data()),
        end_(subject.data() + subject.size()),
        pattern_end_(pattern.data() + pattern.size()),
        pattern_(pattern.data()),
        steps_(steps) {}

  // Matches the pattern at exactly `at` (the anchor '^' already taken off); the end of the match or nullptr.
  const char* match_at(const char* at);

  int captures() const noexcept { return level_; }
  // Throws when the capture was never closed.
  const capture& captured(int index) const;

 private:
  const char* match(const char* s, const char* p);
  const char* match_default(const char* s, const char* p, const char* ep, bool& again, const char*& next_s,
                            const char*& next_p);
  const char* class_end(const char* p) const;
  bool single_match(const char* s, const char* p, const char* ep) const;
  bool set_match(int c, const char* p, const char* last) const;
  const char* match_balance(const char* s, const char* p) const;
  const char* max_expand(const char* s, const char* p, const char* ep);
  const char* min_expand(const char* s, const char* p, const char* ep);
  const char* start_capture(const char* s, const char* p, std::ptrdiff_t what);
  const char* end_capture(const char* s, const char* p);
  const char* match_back_reference(const char* s, int letter);
  int check_back_reference(int letter) const;
  void step(std::int64_t n = 1) const {
    if ((steps_ -= n) < 0) throw pattern_exhausted();
  }

  const char* begin_;
  const char* end_;
  const char* pattern_end_;
  const char* pattern_;
  std::int64_t& steps_;
  int depth_ = 0;
  int level_ = 0;
  std::array<capture, max_captures> captures_{};
};

// Whether the byte belongs to the class letter ('a' 'd' 's' …), without locale.
bool in_class(int byte, int letter) noexcept;

// The first place of `needle` at or after `from`; linear in the sizes.
std::optional<std::size_t> find_plain(std::string_view text, std::string_view needle, std::size_t from);

}  // namespace caged::policy
