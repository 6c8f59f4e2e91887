#include "chunks.hpp"

#include <algorithm>

namespace caged::http {
namespace {

constexpr std::size_t max_extension = 256;
constexpr std::size_t max_trailers = 8 * 1024;

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool printable(char c) noexcept {
  const auto u = static_cast<unsigned char>(c);
  return u == '\t' || (u >= 32 && u != 127);
}

}  // namespace

bool chunk_decoder::fail(std::string_view why) noexcept {
  problem_ = why;
  state_ = state::bad;
  return false;
}

bool chunk_decoder::take_size_end(char c) noexcept {
  if (c == '\r') {
    state_ = state::size_feed;
    return true;
  }
  if (state_ == state::extension || c == ';') {
    state_ = state::extension;
    if (!printable(c)) return fail("a chunk extension holds control characters");
    return ++overhead_ <= max_extension || fail("a chunk extension is longer than 256 bytes");
  }
  return fail("a chunk size is not a hexadecimal number");
}

bool chunk_decoder::take(char c) noexcept {
  switch (state_) {
    case state::size_first:
      left_ = 0;
      digits_ = 0;
      overhead_ = 0;
      if (hex_value(c) < 0) return fail("a chunk size is not a hexadecimal number");
      state_ = state::size;
      [[fallthrough]];
    case state::size:
      if (const int value = hex_value(c); value >= 0) {
        left_ = left_ * 16 + static_cast<unsigned>(value);
        return ++digits_ <= 15 || fail("a chunk size has more than 15 digits");
      }
      return take_size_end(c);
    case state::extension:
      return take_size_end(c);
    case state::size_feed:
      if (c != '\n') return fail("a chunk size does not end with CR LF");
      overhead_ = 0;
      state_ = left_ == 0 ? state::trailer_first : state::data;
      return true;
    case state::data_return:
      state_ = state::data_feed;
      return c == '\r' || fail("a chunk does not end with CR LF");
    case state::data_feed:
      state_ = state::size_first;
      return c == '\n' || fail("a chunk does not end with CR LF");
    case state::trailer_first:
      if (c == '\r') {
        state_ = state::end_feed;
        return true;
      }
      state_ = state::trailer;
      [[fallthrough]];
    case state::trailer:
      if (++overhead_ > max_trailers) return fail("the trailers are longer than 8 KiB");
      if (c == '\r') state_ = state::trailer_feed;
      return c == '\r' || printable(c) || fail("a trailer holds control characters");
    case state::trailer_feed:
      state_ = state::trailer_first;
      return c == '\n' || fail("a trailer does not end with CR LF");
    case state::end_feed:
      state_ = state::done;
      return c == '\n' || fail("the last chunk does not end with CR LF");
    case state::data:
    case state::done:
    case state::bad:
      break;
  }
  return false;
}

chunk_decoder::status chunk_decoder::feed(std::string_view in, std::size_t& used, std::string& out, std::size_t limit) {
  used = 0;
  while (state_ != state::done && state_ != state::bad) {
    if (state_ == state::data) {
      if (out.size() >= limit) return status::full;
      const auto n = std::min<std::uint64_t>({left_, in.size() - used, limit - out.size()});
      if (n == 0) return status::need_more;
      out.append(in.substr(used, n));
      used += n;
      left_ -= n;
      if (left_ == 0) state_ = state::data_return;
    } else {
      if (used == in.size()) return status::need_more;
      take(in[used++]);
    }
  }
  return state_ == state::done ? status::done : status::bad;
}

}  // namespace caged::http
