// The compiled form of a JSON Schema: shared by the compiler and the evaluator, private to the SDK.
#pragma once

#include <caged/json_schema.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace re2 {
class RE2;
}

namespace caged::schema {

// Bits of "type"; an integer is also a number.
enum type_bits : unsigned {
  type_null = 1,
  type_boolean = 2,
  type_integer = 4,
  type_number = 8,
  type_string = 16,
  type_array = 32,
  type_object = 64,
};

struct node;

// A part of a document with a URI of its own ("$id"), the unit that anchors and references work in.
struct resource {
  std::string uri;
  const json* root = nullptr;
  std::map<std::string, const json*> anchors;
  std::map<std::string, const json*> dynamic_anchors;
  std::map<std::string, const node*> dynamic_nodes;  // the same, compiled
  bool touched = false;                              // something in it is compiled
};

// An ECMA-262 regular expression, run by RE2: linear time whatever the text.
struct pattern {
  std::string text;  // as written
  std::shared_ptr<const re2::RE2> expression;
  bool matches(const std::string& value) const;
};

// Refuses what RE2 cannot do in linear time (lookaround, back references) and what is not ECMA-262.
result<pattern> compile_pattern(const std::string& text);

struct limits_of {
  std::optional<std::uint64_t> least, most;
};

// One schema. Pointers lead into the document set that owns it.
struct node {
  const resource* home = nullptr;
  std::optional<bool> verdict;  // the schemas true and false

  unsigned types = 0;  // 0 = any
  const json* constant = nullptr;
  const json* choices = nullptr;
  const json *minimum = nullptr, *maximum = nullptr, *above = nullptr, *below = nullptr, *multiple_of = nullptr;
  limits_of length, items_count, contains_count, properties_count;
  std::optional<pattern> text_pattern;
  bool unique = false;

  std::vector<std::string> required;
  std::vector<std::pair<std::string, std::vector<std::string>>> dependent_required;
  std::map<std::string, const node*, std::less<>> properties;
  std::vector<std::pair<pattern, const node*>> pattern_properties;
  const node *additional = nullptr, *names = nullptr, *unevaluated_properties = nullptr;
  std::vector<std::pair<std::string, const node*>> dependent_schemas;

  std::vector<const node*> prefix;
  const node *items = nullptr, *contains = nullptr, *unevaluated_items = nullptr;

  std::vector<const node*> all_of, any_of, one_of;
  const node *negated = nullptr, *condition = nullptr, *then = nullptr, *otherwise = nullptr;

  const node* reference = nullptr;
  const node* dynamic_reference = nullptr;
  std::string dynamic_name;  // "" = dynamic_reference is an ordinary reference
};

// Everything a compiled schema needs to live on.
struct document_set {
  std::deque<json> documents;
  std::deque<resource> resources;
  std::map<std::string, resource*> by_uri;
  std::deque<node> nodes;
  bool tracks_unevaluated = false;
};

using documents_by_uri = std::map<std::string, json>;

// Compiles without a look at the metaschema. `others` are documents that references may lead to.
result<const node*> compile_into(document_set& set, const json& schema, const documents_by_uri& others);

// The 2020-12 metaschema and its vocabularies.
const documents_by_uri& metaschema_documents();
inline constexpr std::string_view metaschema_uri = "https://json-schema.org/draft/2020-12/schema";

// RFC 3986 reference resolution, and the split at '#'.
std::string resolve_uri(std::string_view base, std::string_view reference);
std::pair<std::string, std::string> split_fragment(std::string_view uri);
std::string percent_decode(std::string_view text);
std::string escape_pointer_token(std::string_view token);

std::vector<json_schema::violation> evaluate(const document_set& set, const node& root, const json& instance);

}  // namespace caged::schema

namespace caged {

struct json_schema::node {
  schema::document_set set;
  const schema::node* root = nullptr;
};

}  // namespace caged
