// The JSON type of Caged and the two ways to read it from outside.
#pragma once

#include <caged/result.hpp>
#include <nlohmann/json.hpp>
#include <string_view>

namespace caged {

using json = nlohmann::json;

// Parses untrusted text. Refuses: duplicate member names, depth over 64, invalid UTF-8, trailing text, empty input.
// The error (invalid_argument, reason "malformed_json") names line and column.
result<json> parse_json(std::string_view text);

// Compact text, with invalid UTF-8 replaced by U+FFFD rather than thrown on.
std::string to_text(const json& value);

}  // namespace caged
