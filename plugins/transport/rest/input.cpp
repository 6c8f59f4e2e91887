#include "input.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "text.hpp"

namespace caged::rest {
namespace {

constexpr int max_schema_depth = 8;

// The types a schema admits, through its alternatives.
void collect_types(const json& schema, std::set<std::string>& types, int depth) {
  if (!schema.is_object() || depth > max_schema_depth) return;
  if (const auto it = schema.find("type"); it != schema.end()) {
    if (it->is_string()) types.insert(it->get<std::string>());
    if (it->is_array())
      for (const auto& one : *it)
        if (one.is_string()) types.insert(one.get<std::string>());
  }
  for (const char* key : {"anyOf", "oneOf", "allOf"})
    if (const auto it = schema.find(key); it != schema.end() && it->is_array())
      for (const auto& one : *it) collect_types(one, types, depth + 1);
}

std::set<std::string> types_of(const json& schema) {
  std::set<std::string> types;
  collect_types(schema, types, 0);
  return types;
}

const json& property(const operation_info& info, const std::string& name) {
  static const json none = json::object();
  const auto properties = info.input.find("properties");
  if (properties == info.input.end() || !properties->is_object()) return none;
  const auto it = properties->find(name);
  return it == properties->end() ? none : *it;
}

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || ec != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

error twice(const std::string& name, const std::string& where) {
  return fail(errc::invalid_argument, "given_twice", "\"" + name + "\" is given " + where, "Give it once.", "/" + name);
}

json array_value(const std::vector<std::string>& texts, const json& schema) {
  static const json any = json::object();
  const auto it = schema.find("items");
  const json& items = it == schema.end() ? any : *it;
  json out = json::array();
  if (texts.size() > 1) {
    for (const auto& text : texts) out.push_back(typed_value(text, items));
    return out;
  }
  std::string_view rest = texts.front();
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    out.push_back(typed_value(rest.substr(0, comma), items));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return out;
}

}  // namespace

json typed_value(std::string_view text, const json& schema) {
  const auto types = types_of(schema);
  const auto may = [&types](const char* type) { return types.contains(type); };
  // What may be a text stays one: "0644" is a mode, not six hundred and forty-four.
  if (!may("string") && (may("integer") || may("number"))) {
    if (const auto value = whole_number<std::int64_t>(text)) return *value;
    if (const auto value = whole_number<std::uint64_t>(text)) return *value;
  }
  if (may("number"))
    if (const auto value = whole_number<double>(text); value && std::isfinite(*value)) return *value;
  if (may("boolean")) {
    if (text == "true" || (text.empty() && !may("string"))) return true;  // "?wait" alone
    if (text == "false") return false;
  }
  if (may("null") && text == "null" && !may("string")) return nullptr;
  return std::string(text);
}

result<json> query_arguments(const operation_info& info, const http::request& head,
                             const std::vector<std::string>& skip) {
  std::map<std::string, std::vector<std::string>> values;
  for (const auto& [name, value] : head.query) {
    if (std::find(skip.begin(), skip.end(), name) != skip.end()) continue;
    if (!is_utf8(name) || !is_utf8(value))
      return fail(errc::invalid_argument, "not_utf8", "the query is not UTF-8",
                  "Percent-encode the UTF-8 form of the text.");
    values[name].push_back(value);
  }
  json out = json::object();
  for (const auto& [name, texts] : values) {
    const json& schema = property(info, name);
    if (types_of(schema).contains("array"))
      out[name] = array_value(texts, schema);
    else if (texts.size() > 1)
      return twice(name, "several times in the query");
    else
      out[name] = typed_value(texts.front(), schema);
  }
  return out;
}

result<json> merge_arguments(const operation_info& info, const path_parameters& path, json query, json body) {
  if (body.is_null()) body = json::object();
  if (!body.is_object())
    return fail(errc::invalid_argument, "not_an_object",
                std::string("the body is ") + body.type_name() + ", expected an object", "Send a JSON object.");
  for (auto& [name, value] : query.items()) {
    if (body.contains(name)) return twice(name, "in the query and in the body");
    body[name] = std::move(value);
  }
  for (const auto& [name, text] : path) {
    if (body.contains(name)) return twice(name, "in the path and once more");
    body[name] = typed_value(text, property(info, name));
  }
  return body;
}

}  // namespace caged::rest
