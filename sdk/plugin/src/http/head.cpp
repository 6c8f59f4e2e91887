#include "head.hpp"

#include <algorithm>

namespace caged::http {
namespace {

constexpr std::size_t max_fields = 100;
constexpr std::size_t max_parameters = 256;

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_alnum(char c) noexcept { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z'); }

bool is_token_char(char c) noexcept {
  return is_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

head_refusal bad(std::string reason, std::string message) {
  return {400, std::move(reason), std::move(message), "Send a well-formed HTTP/1.1 request (RFC 9112)."};
}

// The next line without its CRLF; false when a CR or LF stands alone.
bool take_line(std::string_view& rest, std::string_view& line) noexcept {
  const auto end = rest.find_first_of("\r\n");
  if (end == std::string_view::npos || rest[end] != '\r' || end + 1 >= rest.size() || rest[end + 1] != '\n')
    return false;
  line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  return true;
}

std::optional<head_refusal> parse_request_line(std::string_view line, parsed_head& out) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return bad("malformed_request_line", "the first line is not \"METHOD target HTTP/1.1\"");
  const auto method = line.substr(0, first);
  const auto target = line.substr(first + 1, last - first - 1);
  const auto version = line.substr(last + 1);
  if (!is_token(method) || method.size() > 32) return bad("malformed_method", "the method is not a token");
  if (version == "HTTP/1.0") {
    out.http_1_0 = true;
    out.keep_alive = false;
  } else if (version != "HTTP/1.1") {
    if (version.size() == 8 && version.starts_with("HTTP/"))
      return head_refusal{505, "http_version", "the request speaks " + std::string(version), "Speak HTTP/1.1."};
    return bad("malformed_request_line", "the first line does not end with HTTP/1.1");
  }
  const bool visible = std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 127 && c != '#'; });
  if (target.empty() || !visible) return bad("malformed_target", "the target holds characters that must be escaped");
  out.head.method = method;
  out.head.target = target;
  return std::nullopt;
}

std::optional<head_refusal> parse_field(std::string_view line, parsed_head& out) {
  if (line.front() == ' ' || line.front() == '\t')
    return bad("folded_header", "a header line begins with a blank (line folding)");
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return bad("malformed_header", "a header line is not \"name: value\"");
  const auto value = trim(line.substr(colon + 1));
  const bool printable = std::all_of(value.begin(), value.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u == '\t' || (u >= 32 && u != 127);
  });
  if (!printable) return bad("malformed_header", "a header value holds control characters");
  if (out.head.fields.size() >= max_fields)
    return head_refusal{431, "too_many_headers", "more than 100 header lines", "Send fewer headers."};
  out.head.fields.emplace_back(lowered(line.substr(0, colon)), value);
  return std::nullopt;
}

std::optional<head_refusal> find_framing(parsed_head& out) {
  int lengths = 0, encodings = 0;
  std::string_view length, encoding;
  for (const auto& [name, value] : out.head.fields) {
    if (name == "content-length") ++lengths, length = value;
    if (name == "transfer-encoding") ++encodings, encoding = value;
  }
  if (lengths + encodings > 1)
    return bad("ambiguous_length", "Content-Length and Transfer-Encoding may stand once, and not together");
  if (encodings == 1) {
    if (out.http_1_0) return bad("ambiguous_length", "HTTP/1.0 has no Transfer-Encoding");
    if (!equal_ignoring_case(encoding, "chunked"))
      return head_refusal{501, "transfer_encoding", "the only Transfer-Encoding taken is chunked", "Send it chunked."};
    out.body = framing::chunked;
  }
  if (lengths == 1) {
    if (length.empty() || length.size() > 18 || !std::all_of(length.begin(), length.end(), is_digit))
      return bad("malformed_length", "Content-Length is not a number of bytes");
    for (const char c : length) out.content_length = out.content_length * 10 + static_cast<unsigned>(c - '0');
    out.body = out.content_length == 0 ? framing::none : framing::sized;
  }
  return std::nullopt;
}

std::optional<head_refusal> find_host(parsed_head& out) {
  const auto& fields = out.head.fields;
  const auto count = std::count_if(fields.begin(), fields.end(), [](const auto& f) { return f.first == "host"; });
  if (count != 1) return bad("host_header", "the request has " + std::to_string(count) + " Host headers, expected one");
  const auto host = host_of(out.head.field("host"));
  if (!host) return bad("host_header", "the Host header is not a host name with an optional port");
  out.head.host = *host;
  return std::nullopt;
}

// Absolute form is allowed for origin servers too (RFC 9112 3.2.2), but must not disagree with Host.
std::optional<head_refusal> reduce_target(parsed_head& out) {
  std::string_view target = out.head.target;
  if (target == "*" && out.head.method == "OPTIONS") {
    out.head.path = "*";
    return std::nullopt;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const auto rest = target.substr(scheme.size());
    const auto end = rest.find_first_of("/?");
    if (!equal_ignoring_case(rest.substr(0, end), out.head.field("host")))
      return bad("host_header", "the target names another host than the Host header");
    target = end == std::string_view::npos ? std::string_view{} : rest.substr(end);
    out.head.target = target.starts_with('/') ? std::string(target) : "/" + std::string(target);
    break;
  }
  if (!out.head.target.starts_with('/')) return bad("malformed_target", "the target does not begin with \"/\"");
  const std::string whole = out.head.target;
  if (!parse_target(whole, out.head)) return bad("malformed_target", "the target holds a malformed escape");
  return std::nullopt;
}

bool is_websocket_handshake(const parsed_head& head) {
  const auto& h = head.head;
  const auto key = h.field("sec-websocket-key");
  return h.method == "GET" && !head.http_1_0 && head.body == framing::none &&
         has_token(h.field("upgrade"), "websocket") && has_token(h.field("connection"), "upgrade") &&
         h.field("sec-websocket-version") == "13" && key.size() == 24 && key.ends_with("==");
}

}  // namespace

bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

bool has_token(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const auto comma = list.find(',');
    if (equal_ignoring_case(trim(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

std::string_view request::field(std::string_view name) const noexcept {
  for (const auto& [key, value] : fields)
    if (key == name) return value;
  return {};
}

scan_state scan_head(std::string_view data, std::size_t& scanned) noexcept {
  while (true) {
    const auto feed = data.find('\n', scanned);
    if (feed == std::string_view::npos) {
      scanned = data.size();
      return scan_state::need_more;
    }
    scanned = feed + 1;
    if (feed == 0 || data[feed - 1] != '\r') return scan_state::bare_line_feed;
    if (feed >= 3 && data.substr(feed - 3, 4) == "\r\n\r\n") return scan_state::complete;
  }
}

std::optional<std::string> percent_decode(std::string_view text, char blank_for_plus) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += blank_for_plus;
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

bool parse_target(std::string_view target, request& into) {
  const auto mark = target.find('?');
  const auto path = target.substr(0, mark);
  into.path = path;
  into.segments.clear();
  into.query.clear();
  for (std::size_t at = path.starts_with('/') ? 1 : 0; at <= path.size();) {
    const auto slash = std::min(path.find('/', at), path.size());
    auto segment = percent_decode(path.substr(at, slash - at));
    if (!segment || segment->find('\0') != std::string::npos) return false;
    into.segments.push_back(std::move(*segment));
    at = slash + 1;
  }
  if (mark == std::string_view::npos) return true;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const auto pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (pair.empty()) continue;
    const auto equals = std::min(pair.find('='), pair.size());
    auto name = percent_decode(pair.substr(0, equals), ' ');
    auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), ' ');
    if (!name || !value || into.query.size() >= max_parameters) return false;
    into.query.emplace_back(std::move(*name), std::move(*value));
  }
  return true;
}

std::optional<std::string> host_of(std::string_view authority) {
  std::string_view host = authority, port;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
    const auto in_address = [](char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; };
    if (host.find(':') == std::string_view::npos || !std::all_of(host.begin(), host.end(), in_address))
      return std::nullopt;
  } else {
    const auto colon = std::min(authority.find(':'), authority.size());
    host = authority.substr(0, colon);
    port = authority.substr(colon);
    const auto in_name = [](char c) { return is_alnum(c) || c == '-' || c == '.' || c == '_'; };
    if (!std::all_of(host.begin(), host.end(), in_name)) return std::nullopt;
    if (host.ends_with('.')) host.remove_suffix(1);
  }
  if (host.empty() || host.size() > 253) return std::nullopt;
  if (!port.empty()) {
    port.remove_prefix(1);
    if (authority[authority.size() - port.size() - 1] != ':') return std::nullopt;
    if (port.size() > 5 || !std::all_of(port.begin(), port.end(), is_digit)) return std::nullopt;
  }
  return lowered(host);
}

// RFC 9110 5.6.1: tokens between commas, blanks around them, empty elements allowed.
static bool is_token_list(std::string_view list) noexcept {
  while (!list.empty()) {
    std::string_view element = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), element.size() + 1));
    while (!element.empty() && (element.front() == ' ' || element.front() == '\t')) element.remove_prefix(1);
    while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) element.remove_suffix(1);
    if (!element.empty() && !is_token(element)) return false;
  }
  return true;
}

head_result parse_head(std::string_view text) {
  parsed_head out;
  std::string_view rest = text, line;
  // One empty line before a request is tolerated, as RFC 9112 2.2 asks.
  if (rest.starts_with("\r\n")) rest.remove_prefix(2);
  if (!take_line(rest, line)) return bad("malformed_request_line", "the first line does not end with CR LF");
  if (auto refusal = parse_request_line(line, out)) return *refusal;
  while (true) {
    if (!take_line(rest, line)) return bad("bare_line_ending", "a header line does not end with CR LF");
    if (line.empty()) break;
    if (auto refusal = parse_field(line, out)) return *refusal;
  }
  if (auto refusal = find_framing(out)) return *refusal;
  if (auto refusal = find_host(out)) return *refusal;
  if (auto refusal = reduce_target(out)) return *refusal;
  for (const auto& [name, value] : out.head.fields) {
    if ((name == "connection" || name == "proxy-connection") && !is_token_list(value))
      return bad("malformed_connection", "the Connection header is not a list of tokens");
    if (name == "connection" && has_token(value, "close")) out.keep_alive = false;
    if (name == "expect") {
      if (!equal_ignoring_case(value, "100-continue"))
        return head_refusal{417, "expectation", "the only expectation taken is 100-continue", "Leave Expect out."};
      out.expects_continue = !out.http_1_0;
    }
  }
  out.websocket = is_websocket_handshake(out);
  return out;
}

}  // namespace caged::http
