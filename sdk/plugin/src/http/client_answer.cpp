#include "client_answer.hpp"

#include <algorithm>

#include "head.hpp"

namespace caged::http {
namespace {

constexpr std::size_t max_head = 64 * 1024;

error no_http(const std::string& why) {
  return fail(errc::unavailable, "not_http", "the server does not answer in HTTP: " + why,
              "Check the address and the port.");
}

error cut_off() {
  return fail(errc::unavailable, "answer_cut_off", "the server closed the connection in the middle of its answer",
              "Look whether the server still runs, and try again.");
}

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

result<void> client_answer::read_head(client_link& link, std::string_view method, std::chrono::milliseconds silence) {
  do {
    std::size_t scanned = 0;
    while (true) {
      const auto state = scan_head(link.in, scanned);
      if (state == scan_state::complete) break;
      if (state == scan_state::bare_line_feed) return no_http("its first lines are not those of HTTP/1.1");
      if (scanned > max_head) return no_http("its head is longer than 64 KiB");
      const auto more = link.fill(silence);
      if (more.has_error()) return more.error();
      if (!*more) return link.in.empty() ? cut_off() : no_http("it closed the connection within the head");
    }
    if (!parse_answer(std::string_view(link.in).substr(0, scanned), head_)) return no_http("its head is malformed");
    link.in.erase(0, scanned);
  } while (head_.status < 200 && head_.status != 101);
  link.used = true;
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
  return {};
}

result<std::string> client_answer::read_piece(client_link& link, std::chrono::milliseconds silence) {
  std::string piece;
  while (!done_ && piece.empty()) {
    if (chunked_ && !link.in.empty()) {
      std::size_t used = 0;
      const auto status = chunks_.feed(link.in, used, piece, 1u << 20);
      link.in.erase(0, used);
      if (status == chunk_decoder::status::bad) return no_http(std::string(chunks_.problem()));
      done_ = status == chunk_decoder::status::done;
      if (done_ || !piece.empty()) break;
    } else if (!chunked_ && !link.in.empty()) {
      const auto take = until_close_ ? link.in.size() : std::min<std::uint64_t>(left_, link.in.size());
      piece = link.in.substr(0, take);
      link.in.erase(0, take);
      left_ -= until_close_ ? 0 : take;
      done_ = !until_close_ && left_ == 0;
      break;
    }
    const auto more = link.fill(silence);
    if (more.has_error()) return more.error();
    if (*more) continue;
    if (!until_close_) return cut_off();
    done_ = true;
  }
  return piece;
}

}  // namespace caged::http
