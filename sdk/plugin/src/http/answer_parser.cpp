#include "answer_parser.hpp"

#include <algorithm>

#include "head.hpp"

namespace caged::http {
namespace {

constexpr std::size_t max_head = 64 * 1024;

bool parse_answer(std::string_view text, client_head& head) {
  auto end = text.find("\r\n");
  const auto line = text.substr(0, end);
  if (!line.starts_with("HTTP/1.") || line.size() < 12) return false;
  head.status = 0;
  for (const char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return false;
    head.status = head.status * 10 + (c - '0');
  }
  head.fields.clear();
  for (text.remove_prefix(end + 2); !text.starts_with("\r\n"); text.remove_prefix(end + 2)) {
    end = text.find("\r\n");
    if (end == std::string_view::npos) return false;
    const auto field = text.substr(0, end);
    const auto colon = field.find(':');
    if (colon == std::string_view::npos || !is_token(field.substr(0, colon))) return false;
    std::string name(field.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    auto value = field.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    head.fields.emplace_back(std::move(name), value);
  }
  return true;
}

}  // namespace

std::string_view client_head::field(std::string_view name) const noexcept {
  for (const auto& [key, value] : fields)
    if (key == name) return value;
  return {};
}

answer_parser::step answer_parser::fail(std::string why) {
  problem_ = std::move(why);
  return step::bad;
}

answer_parser::step answer_parser::take_head(std::string& in, std::string_view method) {
  do {
    const auto state = scan_head(in, scanned_);
    if (state == scan_state::bare_line_feed) return fail("its first lines are not those of HTTP/1.1");
    if (state != scan_state::complete)
      return scanned_ > max_head ? fail("its head is longer than 64 KiB") : step::need_more;
    if (!parse_answer(std::string_view(in).substr(0, scanned_), head_)) return fail("its head is malformed");
    in.erase(0, std::exchange(scanned_, 0));
  } while (head_.status < 200 && head_.status != 101);
  says_close_ = has_token(head_.field("connection"), "close");
  const auto length = head_.field("content-length");
  if (method == "HEAD" || head_.status < 200 || head_.status == 204 || head_.status == 304) {
    done_ = true;
  } else if (equal_ignoring_case(head_.field("transfer-encoding"), "chunked")) {
    chunked_ = true;
  } else if (!length.empty() && length.size() <= 18 &&
             std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    left_ = std::stoull(std::string(length));
    done_ = left_ == 0;
  } else {
    until_close_ = true;
  }
  return step::ready;
}

answer_parser::step answer_parser::take_piece(std::string& in, std::string& piece) {
  piece.clear();
  if (done_) return step::ready;
  if (in.empty()) return step::need_more;
  if (chunked_) {
    std::size_t used = 0;
    const auto status = chunks_.feed(in, used, piece, 1u << 20);
    in.erase(0, used);
    if (status == chunk_decoder::status::bad) return fail(std::string(chunks_.problem()));
    done_ = status == chunk_decoder::status::done;
    return done_ || !piece.empty() ? step::ready : step::need_more;
  }
  const auto take = until_close_ ? in.size() : std::min<std::uint64_t>(left_, in.size());
  piece = in.substr(0, take);
  in.erase(0, take);
  left_ -= until_close_ ? 0 : take;
  done_ = !until_close_ && left_ == 0;
  return step::ready;
}

bool answer_parser::closed() noexcept {
  if (until_close_) done_ = true;
  return done_;
}

}  // namespace caged::http
