#include <caged/http_client.hpp>

#include "client_parts.hpp"

namespace caged::http {
namespace {

errc class_of(int status) {
  switch (status) {
    case 401:
      return errc::unauthenticated;
    case 403:
      return errc::permission_denied;
    case 404:
      return errc::not_found;
    case 408:
      return errc::deadline_exceeded;
    case 409:
      return errc::conflict;
    case 413:
      return errc::too_large;
    case 429:
      return errc::limit_exceeded;
    case 499:
      return errc::cancelled;
    case 501:
      return errc::unsupported;
    case 502:
    case 503:
      return errc::unavailable;
    case 504:
      return errc::deadline_exceeded;
    case 507:
      return errc::insufficient_storage;
    default:
      return status >= 400 && status < 500 ? errc::invalid_argument : errc::internal;
  }
}

std::string text_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// The line without its ending; false when no whole line lies in the text. A lone CR at the end may be half of CR LF.
bool next_line(std::string_view text, std::size_t& at, std::string_view& line) {
  const auto end = text.find_first_of("\r\n", at);
  if (end == std::string_view::npos || (text[end] == '\r' && end + 1 == text.size())) return false;
  line = text.substr(at, end - at);
  at = end + (text[end] == '\r' && text[end + 1] == '\n' ? 2 : 1);
  return true;
}

}  // namespace

std::string to_hex(std::size_t n) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  do text.insert(text.begin(), digits[n & 15]);
  while ((n >>= 4) != 0);
  return text;
}

std::string encode_component(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      out.append({'%', digits[static_cast<unsigned char>(c) >> 4], digits[c & 15]});
  }
  return out;
}

result<json> client_response::document() const {
  if (!ok()) return failure();
  if (body.empty()) return json(nullptr);
  return parse_json(body);
}

error client_response::failure() const {
  error e;
  e.code = class_of(status);
  e.reason = "http_" + std::to_string(status);
  e.message = "the server answered " + std::to_string(status);
  if (const auto parsed = parse_json(body); parsed.has_value() && parsed->is_object()) {
    if (const auto detail = text_of(*parsed, "detail"); !detail.empty()) e.message = detail;
    if (const auto it = parsed->find("reason"); it != parsed->end() && it->is_object()) {
      if (const auto code = text_of(*it, "code"); !code.empty()) e.reason = code;
      if (const auto message = text_of(*it, "message"); !message.empty()) e.message = message;
      e.action = text_of(*it, "action");
      e.path = text_of(*it, "path");
    }
  } else if (!body.empty()) {
    e.message += ": " + body.substr(0, 200);
  }
  return e;
}

client_stream::client_stream(std::unique_ptr<state> s) : state_(std::move(s)) {}
client_stream::client_stream(client_stream&&) noexcept = default;
client_stream& client_stream::operator=(client_stream&&) noexcept = default;
client_stream::~client_stream() = default;
const client_head& client_stream::head() const noexcept { return state_->answer.head(); }
result<std::string> client_stream::read() { return state_->answer.read_piece(*state_->link, state_->silence); }
void client_stream::interrupt() noexcept { state_->link->wire->interrupt(); }
int client_stream::descriptor() const noexcept { return state_->link->wire->descriptor(); }
bool client_stream::buffered() const noexcept { return !state_->link->in.empty() || state_->answer.done(); }

result<std::string> client_stream::read_all(std::size_t limit) {
  std::string whole;
  while (true) {
    auto piece = read();
    if (piece.has_error()) return piece.error();
    if (piece->empty()) return whole;
    whole += *piece;
    if (whole.size() > limit)
      return fail(errc::too_large, "answer_too_large", "the answer is larger than " + std::to_string(limit) + " bytes",
                  "Read it as a stream.");
  }
}

event_stream::event_stream(client_stream stream) : stream_(std::move(stream)) {}

result<std::optional<sse_event>> event_stream::next() {
  sse_event event;
  bool has_data = false;
  scanned_ = 0;  // an event begins at the front of the buffer
  while (true) {
    std::string_view line;
    while (next_line(buffer_, scanned_, line)) {
      if (line.empty()) {
        const bool complete = has_data;
        buffer_.erase(0, scanned_);
        scanned_ = 0;
        if (complete) {
          event.id = last_id_;
          if (event.event.empty()) event.event = "message";
          return std::optional<sse_event>(std::move(event));
        }
        event = {};
        continue;
      }
      const auto colon = std::min(line.find(':'), line.size());
      const auto name = line.substr(0, colon);
      auto value = line.substr(std::min(colon + 1, line.size()));
      if (value.starts_with(' ')) value.remove_prefix(1);
      if (name == "data") {
        if (has_data) event.data += '\n';
        event.data += value;
        has_data = true;
      } else if (name == "event") {
        event.event = value;
      } else if (name == "id" && value.find('\0') == std::string_view::npos) {
        last_id_ = value;
      }
    }
    if (buffer_.size() > (64u << 20))
      return fail(errc::too_large, "event_too_large", "one event of the stream is larger than 64 MiB", "");
    auto piece = stream_.read();
    if (piece.has_error()) return piece.error();
    if (piece->empty()) return std::optional<sse_event>{};
    buffer_ += *piece;
  }
}

}  // namespace caged::http
