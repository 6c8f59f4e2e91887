// Documents in, nodes out: finds resources and anchors, resolves references, checks what the metaschema cannot.
#include <array>

#include "json_schema_node.hpp"

namespace caged::schema {
namespace {

constexpr std::array<std::string_view, 11> single_schemas = {"not",
                                                             "if",
                                                             "then",
                                                             "else",
                                                             "items",
                                                             "contains",
                                                             "additionalProperties",
                                                             "propertyNames",
                                                             "unevaluatedItems",
                                                             "unevaluatedProperties",
                                                             "contentSchema"};
constexpr std::array<std::string_view, 4> schema_lists = {"allOf", "anyOf", "oneOf", "prefixItems"};
constexpr std::array<std::string_view, 5> schema_maps = {"$defs", "definitions", "properties", "patternProperties",
                                                         "dependentSchemas"};
constexpr int max_schema_depth = 128;
// A base for schemas without $id; references between them stay inside.
constexpr std::string_view anonymous_base = "schema:/";

struct refusal {
  error what;
};

[[noreturn]] void refuse(std::string reason, std::string message, std::string action, std::string path) {
  throw refusal{
      fail(errc::invalid_argument, std::move(reason), std::move(message), std::move(action), std::move(path))};
}

class compiler {
 public:
  compiler(document_set& set, const documents_by_uri& others) : set_(set), others_(others) {}

  const node* run(const json& schema) {
    const node* root = add_document(schema, std::string(anonymous_base));
    compile_dynamic_anchors();
    return root;
  }

 private:
  const node* add_document(const json& schema, std::string uri) {
    set_.documents.push_back(schema);
    const json& own = set_.documents.back();
    resource* home = add_resource(std::move(uri), own);
    index(own, home, "", 0);
    return make(own, home);
  }

  resource* add_resource(std::string uri, const json& root) {
    resource& made = set_.resources.emplace_back();
    made.uri = std::move(uri);
    made.root = &root;
    set_.by_uri[made.uri] = &made;
    return &made;
  }

  // Walks the places where schemas stand, and only those: "$id" in an enum is data.
  void index(const json& schema, resource* home, const std::string& pointer, int depth) {
    if (depth > max_schema_depth)
      refuse("schema_too_deep", "the schema nests deeper than " + std::to_string(max_schema_depth) + " levels",
             "Move inner schemas to $defs.", pointer);
    if (!schema.is_object()) return;
    if (const auto id = schema.find("$id"); id != schema.end() && id->is_string()) {
      std::string uri = split_fragment(resolve_uri(home->uri, id->get_ref<const std::string&>())).first;
      if (&schema == home->root) {
        // The document's own name; where it was fetched from stays a second name.
        home->uri = uri;
        set_.by_uri[uri] = home;
      } else {
        home = add_resource(std::move(uri), schema);
      }
    }
    homes_[&schema] = {home, pointer};
    if (const auto a = schema.find("$anchor"); a != schema.end() && a->is_string())
      home->anchors[a->get<std::string>()] = &schema;
    if (const auto a = schema.find("$dynamicAnchor"); a != schema.end() && a->is_string()) {
      home->anchors[a->get<std::string>()] = &schema;
      home->dynamic_anchors[a->get<std::string>()] = &schema;
    }
    index_children(schema, home, pointer, depth);
  }

  void index_children(const json& schema, resource* home, const std::string& pointer, int depth) {
    for (const auto& [key, value] : schema.items()) {
      const std::string below = pointer + "/" + escape_pointer_token(key);
      const auto is = [&key = key](const auto& list) { return std::find(list.begin(), list.end(), key) != list.end(); };
      if (is(single_schemas)) {
        index(value, home, below, depth + 1);
      } else if (is(schema_lists) && value.is_array()) {
        for (std::size_t i = 0; i < value.size(); ++i)
          index(value[i], home, below + "/" + std::to_string(i), depth + 1);
      } else if (is(schema_maps) && value.is_object()) {
        for (const auto& [name, inner] : value.items())
          index(inner, home, below + "/" + escape_pointer_token(name), depth + 1);
      }
    }
  }

  std::string place(const json& schema) const {
    const auto it = homes_.find(&schema);
    return it == homes_.end() ? std::string() : it->second.pointer;
  }

  const node* make(const json& schema, resource* home) {
    if (const auto known = made_.find(&schema); known != made_.end()) return known->second;
    if (const auto it = homes_.find(&schema); it != homes_.end()) home = it->second.home;
    node& n = set_.nodes.emplace_back();
    made_[&schema] = &n;
    n.home = home;
    home->touched = true;
    if (schema.is_boolean()) {
      n.verdict = schema.get<bool>();
    } else if (schema.is_object()) {
      assertions(n, schema);
      applicators(n, schema, home);
      references(n, schema, home);
    } else {
      refuse("schema_malformed", "found " + std::string(schema.type_name()) + " where a schema is expected",
             "Put an object or a boolean there.", place(schema));
    }
    return &n;
  }

  static const json* member(const json& schema, std::string_view key) {
    const auto it = schema.find(key);
    return it == schema.end() ? nullptr : &*it;
  }

  static std::optional<std::uint64_t> count(const json& schema, std::string_view key) {
    const json* value = member(schema, key);
    if (value == nullptr || !value->is_number()) return std::nullopt;
    if (value->is_number_float()) {
      const double number = value->get<double>();
      return number >= 9.0e18 ? std::uint64_t(9'000'000'000'000'000'000) : static_cast<std::uint64_t>(number);
    }
    return value->get<std::uint64_t>();
  }

  pattern regular_expression(const std::string& text, const json& schema, const std::string& key) {
    auto made = compile_pattern(text);
    if (made.has_error()) {
      error e = made.error();
      e.path = place(schema) + "/" + escape_pointer_token(key);
      throw refusal{std::move(e)};
    }
    return std::move(made.value());
  }

  static unsigned type_bit(const json& name) {
    static const std::map<std::string, unsigned> bits = {
        {"null", type_null},     {"boolean", type_boolean}, {"integer", type_integer}, {"number", type_number},
        {"string", type_string}, {"array", type_array},     {"object", type_object}};
    const auto it = name.is_string() ? bits.find(name.get<std::string>()) : bits.end();
    return it == bits.end() ? 0 : it->second;
  }

  void assertions(node& n, const json& schema) {
    if (const json* type = member(schema, "type")) {
      if (type->is_array())
        for (const json& one : *type) n.types |= type_bit(one);
      else
        n.types = type_bit(*type);
    }
    n.constant = member(schema, "const");
    n.choices = member(schema, "enum");
    n.minimum = member(schema, "minimum");
    n.maximum = member(schema, "maximum");
    n.above = member(schema, "exclusiveMinimum");
    n.below = member(schema, "exclusiveMaximum");
    n.multiple_of = member(schema, "multipleOf");
    n.length = {count(schema, "minLength"), count(schema, "maxLength")};
    n.items_count = {count(schema, "minItems"), count(schema, "maxItems")};
    n.contains_count = {count(schema, "minContains"), count(schema, "maxContains")};
    n.properties_count = {count(schema, "minProperties"), count(schema, "maxProperties")};
    if (const json* text = member(schema, "pattern"); text && text->is_string())
      n.text_pattern = regular_expression(text->get<std::string>(), schema, "pattern");
    if (const json* unique = member(schema, "uniqueItems")) n.unique = unique->is_boolean() && unique->get<bool>();
    if (const json* required = member(schema, "required"); required && required->is_array())
      n.required = required->get<std::vector<std::string>>();
    if (const json* dependent = member(schema, "dependentRequired"); dependent && dependent->is_object())
      for (const auto& [name, list] : dependent->items())
        n.dependent_required.emplace_back(name, list.get<std::vector<std::string>>());
  }

  const node* one(const json& schema, std::string_view key, resource* home) {
    const json* value = member(schema, key);
    return value == nullptr ? nullptr : make(*value, home);
  }

  std::vector<const node*> many(const json& schema, std::string_view key, resource* home) {
    std::vector<const node*> out;
    if (const json* value = member(schema, key); value && value->is_array())
      for (const json& inner : *value) out.push_back(make(inner, home));
    return out;
  }

  void applicators(node& n, const json& schema, resource* home) {
    n.all_of = many(schema, "allOf", home);
    n.any_of = many(schema, "anyOf", home);
    n.one_of = many(schema, "oneOf", home);
    n.prefix = many(schema, "prefixItems", home);
    n.items = one(schema, "items", home);
    n.contains = one(schema, "contains", home);
    n.additional = one(schema, "additionalProperties", home);
    n.names = one(schema, "propertyNames", home);
    n.negated = one(schema, "not", home);
    n.condition = one(schema, "if", home);
    n.then = one(schema, "then", home);
    n.otherwise = one(schema, "else", home);
    n.unevaluated_items = one(schema, "unevaluatedItems", home);
    n.unevaluated_properties = one(schema, "unevaluatedProperties", home);
    if (n.unevaluated_items || n.unevaluated_properties) set_.tracks_unevaluated = true;
    if (const json* all = member(schema, "properties"); all && all->is_object())
      for (const auto& [name, inner] : all->items()) n.properties[name] = make(inner, home);
    if (const json* all = member(schema, "patternProperties"); all && all->is_object())
      for (const auto& [text, inner] : all->items())
        n.pattern_properties.emplace_back(regular_expression(text, schema, "patternProperties"), make(inner, home));
    if (const json* all = member(schema, "dependentSchemas"); all && all->is_object())
      for (const auto& [name, inner] : all->items()) n.dependent_schemas.emplace_back(name, make(inner, home));
  }

  void references(node& n, const json& schema, resource* home) {
    if (const json* ref = member(schema, "$ref"); ref && ref->is_string())
      n.reference = resolve(ref->get<std::string>(), schema, "$ref", home, nullptr);
    if (const json* ref = member(schema, "$dynamicRef"); ref && ref->is_string())
      n.dynamic_reference = resolve(ref->get<std::string>(), schema, "$dynamicRef", home, &n.dynamic_name);
  }

  resource* find_resource(const std::string& uri) {
    if (const auto it = set_.by_uri.find(uri); it != set_.by_uri.end()) return it->second;
    for (const documents_by_uri* shelf : {&others_, &metaschema_documents()}) {
      const auto it = shelf->find(uri);
      if (it == shelf->end()) continue;
      add_document(it->second, uri);
      return set_.by_uri.at(uri);
    }
    return nullptr;
  }

  const node* resolve(const std::string& reference, const json& schema, const char* key, resource* home,
                      std::string* dynamic_name) {
    const std::string full = resolve_uri(home->uri, reference);
    const auto [uri, fragment] = split_fragment(full);
    resource* target = find_resource(uri);
    const std::string where = place(schema) + "/" + key;
    if (target == nullptr)
      refuse("schema_reference_unknown", std::string(key) + " leads to \"" + reference + "\", another document",
             "Put the schema into $defs and refer to \"#/$defs/…\"; documents are never fetched.", where);
    if (fragment.empty()) return make(*target->root, target);
    if (fragment[0] == '/') return at_pointer(percent_decode(fragment), target, reference, where);
    const auto anchor = target->anchors.find(percent_decode(fragment));
    if (anchor == target->anchors.end())
      refuse("schema_reference_unknown",
             std::string(key) + " leads to \"" + reference + "\", an anchor that is not there",
             "Add an \"$anchor\" of that name, or correct the reference.", where);
    if (dynamic_name != nullptr && target->dynamic_anchors.count(anchor->first) != 0) *dynamic_name = anchor->first;
    return make(*anchor->second, target);
  }

  const node* at_pointer(const std::string& pointer, resource* home, const std::string& reference,
                         const std::string& where) {
    const json* at = home->root;
    for (std::size_t begin = 1; at != nullptr && begin <= pointer.size();) {
      const auto end = std::min(pointer.find('/', begin), pointer.size());
      std::string token;
      for (std::size_t i = begin; i < end; ++i) {
        const bool escaped = pointer[i] == '~' && i + 1 < end;
        token += !escaped ? pointer[i] : pointer[++i] == '1' ? '/' : '~';
      }
      at = step(*at, token);
      if (const auto it = homes_.find(at); it != homes_.end()) home = it->second.home;
      begin = end + 1;
    }
    if (at == nullptr)
      refuse("schema_reference_unknown", "the reference \"" + reference + "\" leads nowhere",
             "Correct the JSON pointer, or add what it names.", where);
    // A schema under a keyword nobody knows becomes one by being referred to.
    if (homes_.count(at) == 0) index(*at, home, pointer, 0);
    return make(*at, home);
  }

  static const json* step(const json& at, const std::string& token) {
    if (at.is_object()) {
      const auto it = at.find(token);
      return it == at.end() ? nullptr : &*it;
    }
    if (!at.is_array() || token.empty() || token.size() > 9 ||
        token.find_first_not_of("0123456789") != std::string::npos)
      return nullptr;
    const std::size_t number = std::stoul(token);
    return number < at.size() ? &at[number] : nullptr;
  }

  // $dynamicRef may lead to any anchor of its name in a resource on the way; each compiled one may touch more.
  void compile_dynamic_anchors() {
    for (bool again = true; again;) {
      again = false;
      for (std::size_t i = 0; i < set_.resources.size(); ++i) {
        resource& r = set_.resources[i];
        if (!r.touched) continue;
        for (const auto& [name, schema] : r.dynamic_anchors) {
          if (r.dynamic_nodes.count(name) != 0) continue;
          r.dynamic_nodes[name] = make(*schema, &r);
          again = true;
        }
      }
    }
  }

  struct position {
    resource* home = nullptr;
    std::string pointer;
  };
  document_set& set_;
  const documents_by_uri& others_;
  std::unordered_map<const json*, position> homes_;
  std::unordered_map<const json*, node*> made_;
};

}  // namespace

result<const node*> compile_into(document_set& set, const json& schema, const documents_by_uri& others) {
  try {
    return compiler(set, others).run(schema);
  } catch (refusal& r) {
    return std::move(r.what);
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "schema_malformed", std::string("the schema is malformed: ") + e.what(),
                "Compare the schema with JSON Schema 2020-12.");
  }
}

}  // namespace caged::schema
