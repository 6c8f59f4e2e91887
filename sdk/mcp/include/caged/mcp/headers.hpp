// The HTTP header fields that repeat what a message of the stateless era says, and their comparison with it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <caged/mcp/json_text.hpp>

namespace caged::mcp {

struct http_fields {
  // The value of a field, the name in lower case; nullopt when it is absent. Trimmed.
  std::function<std::optional<std::string>(std::string_view name)> get;
};

// Why the Mcp-* fields contradict the body, "" when they do not. `schema`: the input schema of the tool that is called,
// null for everything else.
std::string field_contradiction(const http_fields& fields, const std::string& version, const std::string& method,
                                const json& params);
std::string parameter_contradiction(const http_fields& fields, const json& schema, const json& arguments);

// "=?base64?…?=" decoded, other values as they are; nullopt when the wrapper is there and its content is no base64 of
// UTF-8.
std::optional<std::string> unwrapped(std::string_view value);

}  // namespace caged::mcp
