// Reads JSON that a stranger wrote: bounded in depth and number of values, and without duplicate member names.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace caged::mcp {

using nlohmann::json;

struct json_limits {
  std::size_t depth = 64;
  std::size_t values = 200'000;
};

struct parsed_json {
  json value;
  std::string fault;  // why it was refused, fit for the sender; empty: it was not
};

// Never throws. What is not UTF-8 and what a double cannot hold is refused.
parsed_json parse_strict(std::string_view text, json_limits limits = {});

// The text of `value` on one line. Bytes that are not UTF-8 become U+FFFD.
std::string dump(const json& value);
// The same for one string, quotes included; much cheaper than by way of a json value.
void append_quoted(std::string& out, std::string_view text);

}  // namespace caged::mcp
