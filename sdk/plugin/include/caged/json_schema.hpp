// A validator for JSON Schema 2020-12, held to Debian's json-schema-test-suite.
#pragma once

#include <caged/json.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace caged {

// "format" and "content…" are annotations, as the specification has it. Patterns are ECMA-262 without lookaround and
// back references: RE2 runs them, in time linear in the text; others are refused at compile().
//
// A compiled schema. Immutable after compile(); validate() may be called from any thread.
// No network: a $ref to another document is an error at compile() unless the document is the 2020-12 metaschema.
class json_schema {
 public:
  // One thing that does not fit. `path` is a JSON pointer into the instance.
  struct violation {
    std::string path;
    std::string message;  // what was found, what was expected; names a near miss for an unknown property
  };

  static result<json_schema> compile(const json& schema);
  // The same with documents, by absolute URI, that references may lead to.
  static result<json_schema> compile(const json& schema, const std::map<std::string, json>& documents);

  // Empty when the instance fits. At most 20 violations, in document order.
  std::vector<violation> validate(const json& instance) const;

  // The first violation as an error (invalid_argument, reason "invalid_input", path set), with the others counted.
  result<void> check(const json& instance) const;

  json_schema(json_schema&&) noexcept;
  json_schema& operator=(json_schema&&) noexcept;
  ~json_schema();

 private:
  struct node;
  explicit json_schema(std::shared_ptr<const node> root);
  std::shared_ptr<const node> root_;
};

// Fills in "default" values of missing object properties, recursively through "properties"; for configurations.
void apply_defaults(const json& schema, json& instance);

// The candidate nearest to `word` (edit distance), empty when none is near enough to suggest.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace caged
