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

// Whether these bytes can still become "METHOD target HTTP/1.x".
enum class guess : std::uint8_t { unset = 0, no, maybe, yes };
guess looks_like_http(std::string_view bytes) {
  std::size_t i = 0;
  while (i < bytes.size() && is_token(bytes[i])) ++i;
  if (i > 32) return guess::no;
  if (i == bytes.size()) return bytes.empty() || (bytes[0] >= 'A' && bytes[0] <= 'Z') ? guess::maybe : guess::no;
  if (i == 0 || bytes[i] != ' ') return guess::no;
  const auto line = bytes.substr(0, bytes.find('\n'));
  if (line.size() == bytes.size()) return bytes.size() < 16384 ? guess::maybe : guess::no;
  return line.find(" HTTP/") != std::string_view::npos ? guess::yes : guess::no;
}

// The fields that decide about host and framing.
struct fields {
  std::optional<std::string_view> host, length;
  bool chunked = false, other_coding = false, upgrade = false, twice = false;
};

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
    }
  }
  return true;
}

}  // namespace

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
  if (first == std::string_view::npos || first == last || !line.substr(last + 1).starts_with("HTTP/1."))
    return bad_head("a request line that is none of HTTP/1");
  r.head.method = std::string(line.substr(0, first));
  const auto target = line.substr(first + 1, last - first - 1);
  fields f;
  if (!read_fields(text, f, r.problem)) return bad_head(r.problem);
  if (f.twice) return bad_head("two Host or Content-Length headers");
  if (f.host) r.head.host = host_part(*f.host);
  // An absolute target beats Host for the server, so they must agree.
  const auto scheme = target.find("://");
  if (scheme != std::string_view::npos && target.find('/') > scheme) {
    auto authority = target.substr(scheme + 3);
    authority = authority.substr(0, authority.find_first_of("/?#"));
    if (authority.find('@') != std::string_view::npos) return bad_head("a target with a user name");
    const auto named = host_part(authority);
    if (f.host && !same(named, r.head.host)) return bad_head("a target that names another host than the Host header");
    r.head.host = named;
  }
  r.head.upgrade = f.upgrade || same(r.head.method, "CONNECT");
  if (f.chunked && (f.length || f.other_coding)) return bad_head("a body whose length is told in two ways");
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

sniffed sniff(std::string_view bytes) {
  if (bytes.empty()) return more();
  if (bytes[0] == 0x16) {
    if (bytes.size() > 1 && bytes[1] != 0x03) return {};
    return sniff_tls(bytes);
  }
  const auto http = looks_like_http(bytes);
  if (http == guess::no) return {};
  if (http == guess::maybe) return more();
  auto head = read_head(bytes);
  if (head.what == head_result::kind::need_more) return more();
  if (head.what == head_result::kind::malformed) return malformed("HTTP: " + head.problem);
  sniffed s;
  s.what = sniffed::kind::http;
  s.name = std::move(head.head.host);
  return s;
}

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
