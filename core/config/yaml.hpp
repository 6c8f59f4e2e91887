// A small, strict reader of YAML from people we do not trust: one document, bounded, with the line of everything.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace caged::config {

// A node of the document. Scalars keep their text; what type they are is asked of them.
struct yaml_node {
  enum class kind : std::uint8_t { unset = 0, null, scalar, sequence, mapping };
  struct member;

  kind what = kind::null;
  bool plain = true;   // an unquoted scalar: the only kind that may be a number or a truth value
  std::string text;    // of a scalar
  int line = 0;        // from 1
  std::vector<yaml_node> items;    // of a sequence
  std::vector<member> members;     // of a mapping, in document order, names unique

  const yaml_node* find(std::string_view name) const noexcept;
  // "a number", "a list", "the text 'x'" …: how an error names what was found.
  std::string describe() const;
};

struct yaml_node::member {
  std::string name;
  int line = 0;
  yaml_node value;
};

inline constexpr std::size_t max_yaml_bytes = 1 << 20;
inline constexpr int max_yaml_depth = 32;
inline constexpr std::size_t max_yaml_nodes = 100'000;

// Reads one document. `name` is what errors call the file. Refuses: over 1 MiB, over 32 levels, over 100,000 nodes,
// anchors and aliases (the "billion laughs"), tags, duplicate or non-text keys, a second document, NUL and bytes that
// are not UTF-8. Errors are invalid_argument, reasons "malformed_yaml", "yaml_too_large", "yaml_refused",
// "duplicate_key"; each message begins with "name:line:".
result<yaml_node> parse_yaml(std::string_view text, std::string_view name);

// The whole file, at most 1 MiB. Errors: as errno_error, or yaml_too_large.
result<std::string> read_config_file(const std::filesystem::path& file);

// The node as JSON by the YAML 1.2 core schema (true/false, null, decimal, 0x and 0o numbers; "yes" stays text).
// `lines`, when given, receives the line of every JSON pointer.
json to_json(const yaml_node& node, std::map<std::string, int>* lines = nullptr);

// JSON as YAML text, block style, for people (`--format yaml`). Strings that would read as something else are quoted.
std::string to_yaml(const json& value);

}  // namespace caged::config
