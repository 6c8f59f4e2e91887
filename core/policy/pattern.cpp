#include <core/policy/pattern.hpp>

#include <cstring>

namespace caged::policy {
namespace {

constexpr int max_depth = 200;
constexpr char escape = '%';

constexpr bool is_alpha(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_digit(int c) { return c >= '0' && c <= '9'; }
constexpr bool is_lower(int c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_upper(int c) { return c >= 'A' && c <= 'Z'; }
constexpr bool is_graph(int c) { return c > 32 && c < 127; }
constexpr bool is_space(int c) { return c == ' ' || (c >= 9 && c <= 13); }
constexpr bool is_hex(int c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
int byte_at(const char* p) { return static_cast<unsigned char>(*p); }

}  // namespace

bool in_class(int c, int letter) noexcept {
  bool found = false;
  switch (letter | 0x20) {
    case 'a':
      found = is_alpha(c);
      break;
    case 'c':
      found = c < 32 || c == 127;
      break;
    case 'd':
      found = is_digit(c);
      break;
    case 'g':
      found = is_graph(c);
      break;
    case 'l':
      found = is_lower(c);
      break;
    case 'p':
      found = is_graph(c) && !is_alpha(c) && !is_digit(c);
      break;
    case 's':
      found = is_space(c);
      break;
    case 'u':
      found = is_upper(c);
      break;
    case 'w':
      found = is_alpha(c) || is_digit(c);
      break;
    case 'x':
      found = is_hex(c);
      break;
    default:
      return letter == c;
  }
  return is_upper(letter) ? !found : found;
}

std::optional<std::size_t> find_plain(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return std::nullopt;
  if (needle.empty()) return from;
  const void* at = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (at == nullptr) return std::nullopt;
  return static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
}

const char* pattern_matcher::match_at(const char* at) {
  level_ = 0;
  depth_ = 0;
  return match(at, pattern_);
}

const pattern_matcher::capture& pattern_matcher::captured(int index) const {
  const capture& c = captures_[static_cast<std::size_t>(index)];
  if (c.length == open_capture) throw pattern_error("unfinished capture");
  return c;
}

const char* pattern_matcher::class_end(const char* p) const {
  if (p == pattern_end_) throw pattern_error("malformed pattern (ends with '%')");
  if (*p++ == escape) {
    if (p == pattern_end_) throw pattern_error("malformed pattern (ends with '%')");
    return p + 1;
  }
  if (p[-1] != '[') return p;
  if (p < pattern_end_ && *p == '^') ++p;
  do {  // look for the closing ']'; the first byte may be one itself
    if (p == pattern_end_) throw pattern_error("malformed pattern (missing ']')");
    step();
    if (*p++ == escape) {
      if (p == pattern_end_) throw pattern_error("malformed pattern (missing ']')");
      ++p;
    }
  } while (p == pattern_end_ || *p != ']');
  return p + 1;
}

bool pattern_matcher::set_match(int c, const char* p, const char* last) const {
  bool positive = true;
  if (p[1] == '^') {
    positive = false;
    ++p;
  }
  while (++p < last) {
    step();
    if (*p == escape) {
      ++p;
      if (in_class(c, byte_at(p))) return positive;
    } else if (p[1] == '-' && p + 2 < last) {
      p += 2;
      if (byte_at(p - 2) <= c && c <= byte_at(p)) return positive;
    } else if (byte_at(p) == c) {
      return positive;
    }
  }
  return !positive;
}

bool pattern_matcher::single_match(const char* s, const char* p, const char* ep) const {
  step();
  if (s >= end_) return false;
  const int c = byte_at(s);
  switch (*p) {
    case '.':
      return true;
    case escape:
      return in_class(c, byte_at(p + 1));
    case '[':
      return set_match(c, p, ep - 1);
    default:
      return byte_at(p) == c;
  }
}

const char* pattern_matcher::match_balance(const char* s, const char* p) const {
  if (pattern_end_ - p < 2) throw pattern_error("malformed pattern (missing arguments to '%b')");
  if (s >= end_ || *s != *p) return nullptr;
  int depth = 1;
  while (++s < end_) {
    step();
    if (*s == p[1]) {
      if (--depth == 0) return s + 1;
    } else if (*s == p[0]) {
      ++depth;
    }
  }
  return nullptr;
}

const char* pattern_matcher::max_expand(const char* s, const char* p, const char* ep) {
  std::ptrdiff_t count = 0;
  while (single_match(s + count, p, ep)) ++count;
  for (; count >= 0; --count) {
    if (const char* found = match(s + count, ep + 1)) return found;
  }
  return nullptr;
}

const char* pattern_matcher::min_expand(const char* s, const char* p, const char* ep) {
  while (true) {
    if (const char* found = match(s, ep + 1)) return found;
    if (!single_match(s, p, ep)) return nullptr;
    ++s;
  }
}

const char* pattern_matcher::start_capture(const char* s, const char* p, std::ptrdiff_t what) {
  if (level_ >= max_captures) throw pattern_error("too many captures");
  captures_[static_cast<std::size_t>(level_)] = {s, what};
  ++level_;
  const char* found = match(s, p);
  if (found == nullptr) --level_;
  return found;
}

const char* pattern_matcher::end_capture(const char* s, const char* p) {
  int open = level_ - 1;
  while (open >= 0 && captures_[static_cast<std::size_t>(open)].length != open_capture) --open;
  if (open < 0) throw pattern_error("invalid pattern capture");
  capture& c = captures_[static_cast<std::size_t>(open)];
  c.length = s - c.begin;
  const char* found = match(s, p);
  if (found == nullptr) c.length = open_capture;
  return found;
}

int pattern_matcher::check_back_reference(int letter) const {
  const int index = letter - '1';
  if (index < 0 || index >= level_ || captures_[static_cast<std::size_t>(index)].length == open_capture) {
    throw pattern_error("invalid capture index in the pattern");
  }
  return index;
}

const char* pattern_matcher::match_back_reference(const char* s, int letter) {
  const capture& c = captures_[static_cast<std::size_t>(check_back_reference(letter))];
  if (c.length == position_capture) return nullptr;  // as in Lua: a position never repeats
  const std::ptrdiff_t length = c.length;
  step(length + 1);
  if (end_ - s < length || std::memcmp(c.begin, s, static_cast<std::size_t>(length)) != 0) return nullptr;
  return s + length;
}

const char* pattern_matcher::match_default(const char* s, const char* p, const char* ep, bool& again,
                                           const char*& next_s, const char*& next_p) {
  const char suffix = ep < pattern_end_ ? *ep : '\0';
  if (suffix == '+') return single_match(s, p, ep) ? max_expand(s + 1, p, ep) : nullptr;
  if (suffix == '*') return max_expand(s, p, ep);
  if (suffix == '-') return min_expand(s, p, ep);
  const bool one = single_match(s, p, ep);
  if (suffix == '?') {
    if (one) {
      if (const char* found = match(s + 1, ep + 1)) return found;
    }
    next_s = s;
    next_p = ep + 1;
    again = true;
    return nullptr;
  }
  if (!one) return nullptr;
  next_s = s + 1;
  next_p = ep;
  again = true;
  return nullptr;
}

const char* pattern_matcher::match(const char* s, const char* p) {
  if (++depth_ > max_depth) throw pattern_error("pattern too complex");
  struct leave {
    int& depth;
    ~leave() { --depth; }
  } on_return{depth_};
  while (p != pattern_end_) {
    step();
    if (*p == '(') {
      if (p + 1 < pattern_end_ && p[1] == ')') return start_capture(s, p + 2, position_capture);
      return start_capture(s, p + 1, open_capture);
    }
    if (*p == ')') return end_capture(s, p + 1);
    if (*p == '$' && p + 1 == pattern_end_) return s == end_ ? s : nullptr;
    if (*p == escape && p + 1 < pattern_end_) {
      if (p[1] == 'b') {
        s = match_balance(s, p + 2);
        if (s == nullptr) return nullptr;
        p += 4;
        continue;
      }
      if (p[1] == 'f') {
        p += 2;
        if (p >= pattern_end_ || *p != '[') throw pattern_error("missing '[' after '%f' in pattern");
        const char* ep = class_end(p);
        const int before = s == begin_ ? 0 : byte_at(s - 1);
        const int here = s == end_ ? 0 : byte_at(s);
        if (set_match(before, p, ep - 1) || !set_match(here, p, ep - 1)) return nullptr;
        p = ep;
        continue;
      }
      if (is_digit(byte_at(p + 1))) {
        s = match_back_reference(s, byte_at(p + 1));
        if (s == nullptr) return nullptr;
        p += 2;
        continue;
      }
    }
    const char* ep = class_end(p);
    bool again = false;
    const char* next_s = nullptr;
    const char* next_p = nullptr;
    const char* found = match_default(s, p, ep, again, next_s, next_p);
    if (!again) return found;
    s = next_s;
    p = next_p;
  }
  return s;
}

}  // namespace caged::policy
