#include <caged/mcp/headers.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "request.hpp"

namespace caged::mcp {
namespace {

// Strict: padding where it belongs, nothing left over.
std::optional<std::string> base64_text(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t bits = 0;
    int padding = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = text[at + i];
      static constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
      const std::size_t value = alphabet.find(c);
      if (c == '=' && at + 4 == text.size() && i >= 2)
        ++padding;
      else if (value == std::string_view::npos || padding > 0)
        return std::nullopt;
      bits = bits << 6 | static_cast<std::uint32_t>(c == '=' ? 0 : value);
    }
    const std::uint32_t unused = padding == 2 ? bits & 0xffff : padding == 1 ? bits & 0xff : 0;
    if (unused != 0) return std::nullopt;
    for (int i = 0; i < 3 - padding; ++i) out += static_cast<char>(bits >> (16 - 8 * i) & 0xff);
  }
  return out;
}

bool same_value(const json& value, const std::string& text) {
  if (value.is_string()) return value.get_ref<const std::string&>() == text;
  if (value.is_boolean()) return text == (value.get<bool>() ? "true" : "false");
  if (!value.is_number()) return false;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(number) && number == value.get<double>();
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  return text;
}

}  // namespace

std::optional<std::string> unwrapped(std::string_view value) {
  const bool wrapped = value.size() >= 11 && lower(std::string(value.substr(0, 9))) == "=?base64?" &&
                       value.substr(value.size() - 2) == "?=";
  if (!wrapped) return std::string(value);
  return base64_text(value.substr(9, value.size() - 11));
}

std::string field_contradiction(const http_fields& fields, const std::string& version, const std::string& method,
                                const json& params) {
  const auto said = fields.get("mcp-protocol-version");
  if (!said) return "the header MCP-Protocol-Version is missing";
  if (*said != version) return "the header MCP-Protocol-Version is not the version in _meta";
  const auto named = fields.get("mcp-method");
  if (!named) return "the header Mcp-Method is missing";
  if (*named != method) return "the header Mcp-Method is not the method of the body";
  const char* key = method == "tools/call" || method == "prompts/get"                               ? "name"
                    : method == "resources/read"                                                    ? "uri"
                    : method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel" ? "taskId"
                                                                                                    : nullptr;
  if (key == nullptr) return "";
  const auto name = fields.get("mcp-name");
  if (!name) return "the header Mcp-Name is missing";
  const auto decoded = unwrapped(*name);
  if (!decoded) return "the header Mcp-Name is no valid base64";
  if (*decoded != text_member(params, key))
    return std::string("the header Mcp-Name is not params.") + key + " of the body";
  return "";
}

std::string parameter_contradiction(const http_fields& fields, const json& schema, const json& arguments) {
  const json* properties = member(schema, "properties");
  if (properties == nullptr || !properties->is_object()) return "";
  for (const auto& [name, about] : properties->items()) {
    const json* value = member(arguments, name.c_str());
    if (const std::string header = text_member(about, "x-mcp-header"); !header.empty()) {
      const auto given = fields.get("mcp-param-" + lower(header));
      const bool in_body = value != nullptr && !value->is_null();
      if (in_body && !given) return "the header Mcp-Param-" + header + " is missing";
      if (!in_body && given) return "the header Mcp-Param-" + header + " is there and the argument is not";
      if (!in_body) continue;
      const auto decoded = unwrapped(*given);
      if (!decoded) return "the header Mcp-Param-" + header + " is no valid base64";
      if (!same_value(*value, *decoded)) return "the header Mcp-Param-" + header + " is not the argument of the body";
    } else if (const std::string why =
                   parameter_contradiction(fields, about, value == nullptr ? json::object() : *value);
               !why.empty()) {
      return why;
    }
  }
  return "";
}

}  // namespace caged::mcp
