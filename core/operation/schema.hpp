// Short forms for the JSON Schemas of operations.
#pragma once

#include <caged/json.hpp>
#include <initializer_list>
#include <string>
#include <vector>

namespace caged::operation::schema {

inline json text(std::string about) { return {{"type", "string"}, {"description", std::move(about)}}; }
inline json text_or_null(std::string about) {
  return {{"type", {"string", "null"}}, {"description", std::move(about)}};
}
inline json integer(std::string about, std::int64_t least, std::int64_t most) {
  return {{"type", "integer"}, {"description", std::move(about)}, {"minimum", least}, {"maximum", most}};
}
inline json count(std::string about) {
  return {{"type", "integer"}, {"description", std::move(about)}, {"minimum", 0}};
}
inline json number(std::string about) { return {{"type", "number"}, {"description", std::move(about)}}; }
inline json flag(std::string about) { return {{"type", "boolean"}, {"description", std::move(about)}}; }
inline json one_of(std::string about, std::vector<std::string> words) {
  return {{"type", "string"}, {"description", std::move(about)}, {"enum", std::move(words)}};
}
inline json list(json of, std::string about = {}) {
  json s{{"type", "array"}, {"items", std::move(of)}};
  if (!about.empty()) s["description"] = std::move(about);
  return s;
}
inline json text_map(std::string about) {
  return {{"type", "object"}, {"description", std::move(about)}, {"additionalProperties", {{"type", "string"}}}};
}

using members = std::initializer_list<std::pair<const char*, json>>;

// An input: unknown members are refused, so that a misspelt one is not silently without effect.
inline json input(members properties, std::vector<std::string> required = {}) {
  json s{{"type", "object"}, {"properties", json::object()}, {"additionalProperties", false}};
  for (const auto& [name, type] : properties) s["properties"][name] = type;
  if (!required.empty()) s["required"] = std::move(required);
  return s;
}
// An answer: later versions may add members.
inline json output(members properties) {
  json s{{"type", "object"}, {"properties", json::object()}};
  std::vector<std::string> required;
  for (const auto& [name, type] : properties) s["properties"][name] = type;
  return s;
}
inline json nothing() { return {{"type", "null"}}; }

inline json sandbox_id() {
  return {{"type", "string"},
          {"description", "Id of the sandbox, as in \"cage-a1b2c3d4e5f6\"."},
          {"minLength", 1},
          {"maxLength", 64}};
}

}  // namespace caged::operation::schema
