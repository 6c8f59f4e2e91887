#include <core/config/node_reader.hpp>

#include <caged/json_schema.hpp>

namespace caged::config {

std::string node_reader::place() const {
  std::string text(file_);
  if (node_.line > 0) text += ":" + std::to_string(node_.line);
  if (!key_.empty()) text += ": " + key_;
  return text;
}

error node_reader::wrong_type(std::string_view expected) const {
  return fail(errc::invalid_argument, "wrong_type",
              place() + ": found " + node_.describe() + ", expected " + std::string(expected),
              "Change the value of '" + (key_.empty() ? std::string("the document") : key_) + "'.");
}

error node_reader::located(const error& e) const {
  error out = e;
  out.message = place() + ": " + e.message;
  return out;
}

error node_reader::unknown_key(const yaml_node::member& member, const std::vector<std::string>& known) const {
  const std::string prefix = key_.empty() ? "" : key_ + ".";
  const std::string near = nearest(member.name, known);
  std::string list;
  for (const auto& k : known) list += (list.empty() ? "" : ", ") + k;
  return fail(errc::invalid_argument, "unknown_key",
              std::string(file_) + ":" + std::to_string(member.line) + ": unknown key '" + prefix +
                  member.name.substr(0, 100) + "'" + (near.empty() ? "" : ", did you mean '" + prefix + near + "'?"),
              "Known keys: " + list + ".");
}

result<std::string> node_reader::text() const {
  if (node_.what != yaml_node::kind::scalar) return wrong_type("text");
  return node_.text;
}

result<double> node_reader::number() const {
  if (node_.what != yaml_node::kind::scalar) return wrong_type("a number");
  const auto value = parse_number(node_.text);
  if (!value) return wrong_type("a number that is not negative");
  return *value;
}

result<std::int64_t> node_reader::size(size_unit unit) const {
  if (node_.what != yaml_node::kind::scalar) {
    return wrong_type(unit == size_unit::mebibytes ? "megabytes (512) or a size (2G)"
                                                   : "gigabytes (5) or a size (10G)");
  }
  const auto value = parse_size(node_.text, unit);
  if (!value) return located(value.error());
  return *value;
}

result<std::chrono::seconds> node_reader::duration() const {
  if (node_.what != yaml_node::kind::scalar) return wrong_type("seconds (900) or a time (15m)");
  const auto value = parse_duration(node_.text);
  if (!value) return located(value.error());
  return *value;
}

result<std::vector<std::string>> node_reader::texts() const {
  if (node_.what != yaml_node::kind::sequence) return wrong_type("a list ([a, b])");
  std::vector<std::string> out;
  for (std::size_t i = 0; i < node_.items.size(); ++i) {
    const node_reader item(node_.items[i], file_, key_ + "[" + std::to_string(i) + "]");
    auto value = item.text();
    if (!value) return value.error();
    if (value->empty()) return item.wrong_type("text that is not empty");
    out.push_back(std::move(*value));
  }
  return out;
}

result<void> node_reader::mapping() const {
  if (node_.what != yaml_node::kind::mapping) return wrong_type("a mapping (name: value)");
  return {};
}

}  // namespace caged::config
