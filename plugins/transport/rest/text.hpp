// Small text helpers of the transport: escapes, UTF-8, header values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace caged::rest {

// nullopt for a malformed escape.
std::optional<std::string> percent_decode(std::string_view text);
// Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) noexcept;
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;
// "Application/JSON; charset=utf-8" → "application/json".
std::string media_type_of(std::string_view header);
bool is_json(std::string_view media_type) noexcept;
// A request id we are willing to echo: [A-Za-z0-9._-]{1,64}.
bool is_request_id(std::string_view text) noexcept;

// "bytes=0-99", "bytes=100-", "bytes=-5"; nullopt for anything else, several ranges too: those are ignored (RFC 9110).
struct byte_range {
  std::optional<std::uint64_t> first;  // absent: the last `last` bytes
  std::optional<std::uint64_t> last;
};
std::optional<byte_range> parse_range(std::string_view header);

}  // namespace caged::rest
