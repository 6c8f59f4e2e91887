// Reads request heads and targets out of bytes. No sockets; fuzzed.
#pragma once

#include <caged/http.hpp>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace caged::http {

enum class framing : std::uint8_t { none = 1, sized, chunked };

// A request head that passed every check.
struct parsed_head {
  request head;
  framing body = framing::none;
  std::uint64_t content_length = 0;  // for sized
  bool http_1_0 = false;
  bool keep_alive = true;
  bool expects_continue = false;
  bool websocket = false;            // a complete, well-formed RFC 6455 handshake
};

// Why the bytes are no request we take. The connection is closed after the answer: what follows cannot be trusted.
struct head_refusal {
  int status = 400;
  std::string reason, message, action;
};

using head_result = std::variant<parsed_head, head_refusal>;

enum class scan_state : std::uint8_t { need_more = 1, complete, bare_line_feed };

// Looks for the blank line that ends a head. `scanned` starts at 0 and is kept between calls on a growing buffer; on
// `complete` it is the length of the head, blank line included.
scan_state scan_head(std::string_view data, std::size_t& scanned) noexcept;

// Parses one whole head (as delimited by scan_head). Strict where leniency lets requests be smuggled: no folded lines,
// no blank before a colon, one Host, one Content-Length or one "Transfer-Encoding: chunked", never both.
head_result parse_head(std::string_view text);

// Splits a target "/a/b?c=d" into path, segments and query. False when an escape is malformed or a segment holds NUL.
bool parse_target(std::string_view target, request& into);

// "%41b" → "Ab"; nullopt for a malformed escape.
std::optional<std::string> percent_decode(std::string_view text, char blank_for_plus = '+');

// "Example.ORG:80" → "example.org", "[::1]:8080" → "::1"; nullopt when it is no authority.
std::optional<std::string> host_of(std::string_view authority);

bool is_token(std::string_view text) noexcept;
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;
// Whether a comma-separated header value holds `token`.
bool has_token(std::string_view list, std::string_view token) noexcept;

}  // namespace caged::http
