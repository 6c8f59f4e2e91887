// The requests on one plain HTTP connection, followed one after the other as the server will read them.
#include <algorithm>
#include <charconv>

#include "core/network/sniff.hpp"

namespace caged::network {

request_stream::step request_stream::next(std::string_view bytes) {
  step s;
  if (state_ == state::head) {
    if (bytes.empty()) return s;
    auto r = read_head(bytes);
    if (r.what == head_result::kind::need_more) return s;
    if (r.what == head_result::kind::malformed) {
      s.what = step::kind::malformed;
      s.problem = std::move(r.problem);
      return s;
    }
    if (!allowed_) {
      s.what = step::kind::judge;
      s.head = std::move(r.head);
      return s;
    }
    allowed_ = false;
    upgrade_ = r.head.upgrade;
    s.what = step::kind::forward;
    s.count = r.head.length;
    left_ = r.head.body_length;
    if (r.head.body == request_head::framing::chunked)
      state_ = state::chunk_line;
    else if (left_ > 0)
      state_ = state::body;
    return s;
  }
  if (bytes.empty()) return s;
  if (state_ == state::body || state_ == state::chunk_data) {
    s.what = step::kind::forward;
    s.count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
    left_ -= s.count;
    if (left_ == 0) state_ = state_ == state::body ? state::head : state::chunk_end;
    return s;
  }
  return chunk_step(bytes);
}

// Lines between chunks: sizes, the end of a chunk, trailers.
request_stream::step request_stream::chunk_step(std::string_view bytes) {
  step s;
  const auto end = bytes.find("\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() > 4096) {
      s.what = step::kind::malformed;
      s.problem = "a line of a chunked body that does not end";
    }
    return s;
  }
  const auto line = bytes.substr(0, end);
  if (has_control(line)) {
    s.what = step::kind::malformed;
    s.problem = "a control character between chunks";
    return s;
  }
  s.what = step::kind::forward;
  s.count = end + 2;
  if (state_ == state::chunk_line) {
    const auto digits = line.substr(0, line.find(';'));
    const auto [stop, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), left_, 16);
    if (digits.empty() || bad != std::errc{} || stop != digits.data() + digits.size()) {
      s.what = step::kind::malformed;
      s.problem = "a chunk without a size";
      return s;
    }
    state_ = left_ == 0 ? state::trailer : state::chunk_data;
  } else if (state_ == state::chunk_end) {
    if (!line.empty()) {
      s.what = step::kind::malformed;
      s.problem = "a chunk longer than its size";
      return s;
    }
    state_ = state::chunk_line;
  } else if (line.empty()) {
    state_ = state::head;
  }
  return s;
}

}  // namespace caged::network
