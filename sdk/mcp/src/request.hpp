// What the parts of the dialog share about one request.
#pragma once

#include <caged/mcp/dialog.hpp>

namespace caged::mcp {

struct dialog::request {
  std::string id;  // JSON text
  std::string method;
  json params;
  std::shared_ptr<outlet> to;
  revision spoken = revision::unset;
};

// A subscriptions/listen that is open.
struct dialog::listener {
  std::string id;
  std::shared_ptr<outlet> to;
  bool tools = false, prompts = false, resources = false;
  std::set<std::string> uris;
};

inline const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

inline bool valid_id(const json& id) { return id.is_string() || id.is_number_integer(); }

inline std::string text_member(const json& object, const char* name) {
  const json* value = member(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// Whether capabilities have the member at "a/b".
bool has_capability(const json& capabilities, std::string_view path);

}  // namespace caged::mcp
