#include <caged/json_schema.hpp>

#include "json_schema_node.hpp"

namespace caged {
namespace {

error malformed(const json_schema::violation& v) {
  return fail(errc::invalid_argument, "schema_malformed", "the schema is malformed: " + v.message,
              "Compare the schema with JSON Schema 2020-12.", v.path);
}

}  // namespace

json_schema::json_schema(std::shared_ptr<const node> root) : root_(std::move(root)) {}
json_schema::json_schema(json_schema&&) noexcept = default;
json_schema& json_schema::operator=(json_schema&&) noexcept = default;
json_schema::~json_schema() = default;

result<json_schema> json_schema::compile(const json& schema) { return compile(schema, {}); }

result<json_schema> json_schema::compile(const json& schema, const std::map<std::string, json>& documents) {
  static const std::shared_ptr<const node> metaschema = [] {
    auto made = std::make_shared<node>();
    made->root =
        schema::compile_into(made->set, schema::metaschema_documents().at(std::string(schema::metaschema_uri)), {})
            .value();
    return made;
  }();
  if (schema.is_object()) {
    const auto dialect = schema.find("$schema");
    if (dialect != schema.end() && dialect->is_string() &&
        schema::split_fragment(dialect->get<std::string>()).first != schema::metaschema_uri) {
      return fail(errc::invalid_argument, "schema_dialect_unknown",
                  "the schema is written in \"" + dialect->get<std::string>() + "\", expected \"" +
                      std::string(schema::metaschema_uri) + "\"",
                  "Write the schema in JSON Schema 2020-12.", "/$schema");
    }
  }
  if (const auto wrong = schema::evaluate(metaschema->set, *metaschema->root, schema); !wrong.empty())
    return malformed(wrong.front());
  auto made = std::make_shared<node>();
  auto root = schema::compile_into(made->set, schema, documents);
  if (root.has_error()) return root.error();
  made->root = root.value();
  return json_schema(std::shared_ptr<const node>(std::move(made)));
}

std::vector<json_schema::violation> json_schema::validate(const json& instance) const {
  return schema::evaluate(root_->set, *root_->root, instance);
}

result<void> json_schema::check(const json& instance) const {
  const auto wrong = validate(instance);
  if (wrong.empty()) return {};
  const violation& first = wrong.front();
  std::string message = first.message;
  if (wrong.size() > 1) message += " (and " + std::to_string(wrong.size() - 1) + " more)";
  return fail(errc::invalid_argument, "invalid_input", std::move(message),
              first.path.empty() ? "Correct the document." : "Correct the value at " + first.path + ".", first.path);
}

void apply_defaults(const json& schema, json& instance) {
  if (!schema.is_object() || !instance.is_object()) return;
  const auto properties = schema.find("properties");
  if (properties == schema.end() || !properties->is_object()) return;
  for (const auto& [name, inner] : properties->items()) {
    if (!inner.is_object()) continue;
    auto found = instance.find(name);
    if (found == instance.end()) {
      const auto value = inner.find("default");
      if (value == inner.end()) continue;
      found = instance.emplace(name, *value).first;
    }
    apply_defaults(inner, *found);
  }
}

namespace {

std::string folded(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != '_' && c != '-') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Edit distance with transpositions of neighbours counted as one.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = last;
    last = now;
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  // Words from outside may be long; nothing near them is worth the time.
  if (word.empty() || word.size() > 64) return {};
  const std::string ours = folded(word);
  const std::size_t tolerance = ours.size() <= 2 ? 1 : std::min<std::size_t>(3, (ours.size() + 1) / 3);
  std::string best;
  std::size_t best_distance = tolerance + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 64) continue;
    const std::string theirs = folded(candidate);
    std::size_t d = distance(ours, theirs);
    // "mem" for "memory": an abbreviation is a near miss too, after every real one.
    if (d > tolerance && ours.size() >= 3 && theirs.rfind(ours, 0) == 0) d = tolerance;
    if (d < best_distance) best_distance = d, best = candidate;
  }
  return best;
}

}  // namespace caged
