#include "core/network/sniff.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace caged::network {
namespace {

// Reads big-endian numbers and pieces; a read past the end makes ok() false and everything after it empty.
class reader {
 public:
  explicit reader(std::string_view bytes) : rest_(bytes) {}
  std::uint32_t number(unsigned size) {
    const auto piece = take(size);
    std::uint32_t value = 0;
    for (const char c : piece) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto piece = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return piece;
  }
  reader vector(unsigned length_size) { return reader(take(number(length_size))); }
  bool ok() const noexcept { return ok_; }
  bool at_end() const noexcept { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

sniffed malformed(std::string problem) {
  sniffed s;
  s.what = sniffed::kind::malformed;
  s.problem = std::move(problem);
  return s;
}

sniffed more() {
  sniffed s;
  s.what = sniffed::kind::need_more;
  return s;
}

// The name in a server_name extension; nothing when the extension is not as RFC 6066 has it.
std::optional<std::string> server_name(reader body) {
  reader list = body.vector(2);
  std::optional<std::string> name;
  while (list.ok() && !list.at_end()) {
    const auto type = list.number(1);
    const auto text = list.take(list.number(2));
    if (type != 0) continue;
    if (name) return std::nullopt;  // two names: which of them the server takes is its own matter
    name = std::string(text);
  }
  if (!body.ok() || !body.at_end() || !list.ok() || !name || name->empty()) return std::nullopt;
  return name;
}

sniffed read_hello(reader hello) {
  hello.number(2);           // version
  hello.take(32);            // random
  hello.vector(1);           // session
  hello.vector(2);           // ciphers
  hello.vector(1);           // compression
  sniffed s;
  s.what = sniffed::kind::tls;
  if (hello.ok() && hello.at_end()) return s;  // no extensions at all: an old client without a name
  reader extensions = hello.vector(2);
  bool named = false;
  while (extensions.ok() && !extensions.at_end()) {
    const auto type = extensions.number(2);
    const auto body = extensions.take(extensions.number(2));
    if (type == 0xfe0d) s.hidden_name = true;
    if (type != 0) continue;
    auto name = server_name(reader(body));
    if (named || !name) return malformed("a server name that is not as RFC 6066 has it");
    named = true;
    s.name = std::move(*name);
  }
  if (!hello.ok() || !hello.at_end() || !extensions.ok()) return malformed("a ClientHello that ends in the middle");
  return s;
}

// A ClientHello may be spread over several records.
sniffed sniff_tls(std::string_view bytes) {
  std::string handshake;
  while (true) {
    if (bytes.size() < 5) return more();
    if (bytes[0] != 0x16 || bytes[1] != 0x03) return malformed("a TLS record where the ClientHello should go on");
    const std::size_t length =
        static_cast<std::size_t>(static_cast<unsigned char>(bytes[3])) << 8 | static_cast<unsigned char>(bytes[4]);
    if (length == 0 || length > 16384 + 256) return malformed("a TLS record of impossible length");
    const std::size_t here = std::min(length, bytes.size() - 5);
    handshake.append(bytes.substr(5, here));
    if (!handshake.empty() && handshake[0] != 0x01)
      return malformed("a TLS handshake that does not begin with a ClientHello");
    if (handshake.size() >= 4) {
      reader head(handshake);
      head.number(1);
      const std::size_t size = head.number(3);
      if (size > sniff_limit) return malformed("a ClientHello that is too large");
      if (handshake.size() >= 4 + size) return read_hello(reader(std::string_view(handshake).substr(4, size)));
    }
    if (here < length) return more();
    bytes.remove_prefix(5 + length);
  }
}

bool is_token(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

std::string host_part(std::string_view authority) {
  if (authority.starts_with('[')) return std::string(authority.substr(0, authority.find(']') + 1));
  return std::string(authority.substr(0, authority.find(':')));
}

head_result bad_head(std::string problem) {
  head_result r;
  r.what = head_result::kind::malformed;
  r.problem = std::move(problem);
  return r;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\v' || c == '\f'; }

// Whether a server somewhere may read these bytes as an HTTP request line, forgiving servers included: those take any
// method, any blank between words and empty lines before the first.
enum class guess : std::uint8_t { unset = 0, no, maybe, yes };
guess looks_like_http(std::string_view bytes) {
  const auto begin = bytes.find_first_not_of("\r\n");
  if (begin == std::string_view::npos) return guess::maybe;
  bytes.remove_prefix(begin);
  std::size_t i = 0;
  while (i < bytes.size() && is_token(bytes[i])) ++i;
  if (i == bytes.size()) return guess::maybe;
  if (i == 0 || !is_blank(bytes[i])) return guess::no;
  const auto end = bytes.find('\n');
  if (end == std::string_view::npos) return guess::maybe;
  std::string line(bytes.substr(0, end));
  for (char& c : line) c = lower(c);
  // Without a version it is HTTP/0.9, which names a host only in an absolute target.
  return line.find("http/") != std::string::npos || line.find("://") != std::string::npos ? guess::yes : guess::no;
}

// "host", "host:port", "[v6]:port", nothing more.
bool is_authority(std::string_view text) {
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return false;
    text.remove_prefix(close + 1);
  } else {
    text.remove_prefix(std::min(text.find(':'), text.size()));
  }
  if (text.empty()) return true;
  text.remove_prefix(1);
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The fields that decide about host and framing.
struct fields {
  std::optional<std::string_view> host, length;
  bool chunked = false, other_coding = false, upgrade = false, blind_upgrade = false, twice = false;
};

// Protocols in which later requests could name other hosts, unseen.
bool is_blind(std::string_view upgrade) {
  std::string text(upgrade);
  for (char& c : text) c = lower(c);
  return text.find("h2c") != std::string::npos || text.find("tls/") != std::string::npos ||
         text.find("http/") != std::string::npos;
}

bool read_fields(std::string_view text, fields& out, std::string& problem) {
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.empty()) return true;
    const auto colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos ||
        !std::all_of(line.begin(), line.begin() + static_cast<long>(colon), is_token)) {
      problem = "a header line that is none";
      return false;
    }
    const auto name = line.substr(0, colon);
    const auto value = trimmed(line.substr(colon + 1));
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
      problem = "a control character in a header";
      return false;
    }
    if (same(name, "host")) {
      out.twice = out.twice || out.host;
      out.host = value;
    } else if (same(name, "content-length")) {
      out.twice = out.twice || out.length;
      out.length = value;
    } else if (same(name, "transfer-encoding")) {
      out.other_coding = out.other_coding || out.chunked || !same(value, "chunked");
      out.chunked = true;
    } else if (same(name, "upgrade")) {
      out.upgrade = true;
      out.blind_upgrade = out.blind_upgrade || is_blind(value);
    }
  }
  return true;
}

}  // namespace

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f; });
}

head_result read_head(std::string_view bytes) {
  const auto end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (bytes.find("\n\n") != std::string_view::npos || bytes.find("\n\r\n") != std::string_view::npos)
      return bad_head("a head whose lines end in LF alone");
    if (bytes.size() > sniff_limit) return bad_head("a head that is too large");
    return {};
  }
  head_result r;
  r.head.length = end + 4;
  auto text = bytes.substr(0, r.head.length);
  const auto line_end = text.find("\r\n");
  const auto line = text.substr(0, line_end);
  text.remove_prefix(line_end + 2);
  const auto first = line.find(' '), last = line.rfind(' ');
  // Bare line ends would show a forgiving server another request than the one that is judged.
  if (first == std::string_view::npos || first == 0 || first == last || has_control(line) ||
      !std::all_of(line.begin(), line.begin() + static_cast<long>(first), is_token) ||
      !line.substr(last + 1).starts_with("HTTP/1."))
    return bad_head("a request line that is none of HTTP/1");
  r.head.method = std::string(line.substr(0, first));
  const auto target = line.substr(first + 1, last - first - 1);
  if (target.empty() || target.find(' ') != std::string_view::npos)
    return bad_head("a request line that is none of HTTP/1");
  fields f;
  if (!read_fields(text, f, r.problem)) return bad_head(r.problem);
  if (f.twice) return bad_head("two Host or Content-Length headers");
  if (f.host && !is_authority(*f.host)) return bad_head("a Host header that is no host");
  if (f.host) r.head.host = host_part(*f.host);
  // An absolute target beats Host for the server, so they must agree; so does what a proxy is asked to connect to.
  const bool connect = same(r.head.method, "CONNECT");
  const auto scheme = target.find("://");
  const bool absolute = scheme != std::string_view::npos && target.find('/') > scheme;
  if (connect || absolute) {
    auto authority = connect ? target : target.substr(scheme + 3);
    authority = authority.substr(0, authority.find_first_of("/?#\\"));
    if (authority.find('@') != std::string_view::npos) return bad_head("a target with a user name");
    if (!is_authority(authority)) return bad_head("a target that names no host");
    const auto named = host_part(authority);
    if (f.host && !same(named, r.head.host)) return bad_head("a target that names another host than the Host header");
    r.head.host = named;
  } else if (target.front() != '/' && target != "*") {
    return bad_head("a target that is neither a path nor a URL");
  }
  if (f.blind_upgrade) return bad_head("an upgrade to a protocol that hides whom later requests mean");
  r.head.upgrade = f.upgrade || connect;
  if (f.chunked && (f.length || f.other_coding || line.ends_with("HTTP/1.0"))) return bad_head("a body whose length is told in two ways");
  if (f.chunked) {
    r.head.body = request_head::framing::chunked;
  } else if (f.length) {
    const auto [stop, bad] = std::from_chars(f.length->data(), f.length->data() + f.length->size(), r.head.body_length);
    if (f.length->empty() || bad != std::errc{} || stop != f.length->data() + f.length->size())
      return bad_head("a Content-Length that is no number");
    r.head.body = request_head::framing::sized;
  } else {
    r.head.body = request_head::framing::none;
  }
  r.what = head_result::kind::complete;
  return r;
}

// A ClientHello in the form of SSL 2, which old servers still take: it can name nobody.
bool is_old_hello(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[2] == 0x01 && (bytes[3] == 0x03 || bytes[3] == 0x00);
}

sniffed sniff(std::string_view bytes) {
  if (bytes.empty()) return more();
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first >= 0x14 && first <= 0x18) {
    if (bytes.size() < 2) return more();
    if (bytes[1] != 0x03) return {};
    // Servers pass over warnings before the ClientHello.
    return first == 0x16 ? sniff_tls(bytes) : malformed("a TLS record before the ClientHello");
  }
  if ((first & 0x80) != 0) {
    if (bytes.size() < 4) return more();
    sniffed s;
    if (is_old_hello(bytes)) s.what = sniffed::kind::tls;
    return s;
  }
  const auto http = looks_like_http(bytes);
  if (http == guess::no) return {};
  if (http == guess::maybe)
    return bytes.size() > sniff_limit ? malformed("a first line of more than 64 KiB") : more();
  if (bytes[0] == '\r' || bytes[0] == '\n') return malformed("HTTP: an empty line before the request");
  auto head = read_head(bytes);
  if (head.what == head_result::kind::need_more) return more();
  if (head.what == head_result::kind::malformed) return malformed("HTTP: " + head.problem);
  sniffed s;
  s.what = sniffed::kind::http;
  s.name = std::move(head.head.host);
  return s;
}

}  // namespace caged::network
