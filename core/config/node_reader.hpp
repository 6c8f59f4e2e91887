// Reads typed values out of a YAML node, with errors that name file, line, key, found and expected.
#pragma once

#include <core/config/units.hpp>
#include <core/config/yaml.hpp>
#include <optional>

namespace caged::config {

// One value with the place it stands in. Cheap to copy; refers to a tree that outlives it.
class node_reader {
 public:
  node_reader(const yaml_node& node, std::string_view file, std::string key)
      : node_(node), file_(file), key_(std::move(key)) {}

  const yaml_node& node() const noexcept { return node_; }
  const std::string& key() const noexcept { return key_; }
  bool is_null() const noexcept { return node_.what == yaml_node::kind::null; }

  result<std::string> text() const;               // a scalar; numbers keep the way they were written
  result<double> number() const;                  // not negative
  result<std::int64_t> size(size_unit unit) const;
  result<std::chrono::seconds> duration() const;
  result<std::vector<std::string>> texts() const; // a list of scalars that are not empty
  result<void> mapping() const;                   // an error unless it is one

  // "file:12: env.TOKEN": the start of every message.
  std::string place() const;
  error wrong_type(std::string_view expected) const;
  // The same error with the place in front.
  error located(const error& e) const;
  // `name` is none of `known`.
  error unknown_key(const yaml_node::member& member, const std::vector<std::string>& known) const;

 private:
  const yaml_node& node_;
  std::string_view file_;
  std::string key_;
};

}  // namespace caged::config
