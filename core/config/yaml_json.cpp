// YAML scalars by the 1.2 core schema, and JSON written as YAML.
#include <core/config/yaml.hpp>

#include <charconv>
#include <cmath>

namespace caged::config {
namespace {

bool all_of_class(std::string_view text, bool (*accepts)(char)) {
  return !text.empty() && std::all_of(text.begin(), text.end(), accepts);
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A number by the core schema: [-+]?digits, 0x…, 0o…, decimal fractions and exponents; null JSON when it is none.
json number_of(std::string_view text) {
  std::string_view digits = text;
  const bool sign = !digits.empty() && (digits.front() == '-' || digits.front() == '+');
  if (sign) digits.remove_prefix(1);
  if (digits.empty()) return nullptr;

  if (!sign && digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o')) {
    std::int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, bad] = std::from_chars(digits.data() + 2, end, value, digits[1] == 'x' ? 16 : 8);
    if (bad == std::errc{} && stop == end && value >= 0) return value;
    return nullptr;
  }
  if (!is_digit(digits[0]) && digits[0] != '.') return nullptr;
  // from_chars takes no '+'.
  const std::string_view body = text.front() == '+' ? digits : text;
  const char* end = body.data() + body.size();
  if (all_of_class(digits, is_digit)) {
    std::int64_t value = 0;
    const auto [stop, bad] = std::from_chars(body.data(), end, value);
    if (bad == std::errc{} && stop == end) return value;
  }
  double value = 0;
  const auto [stop, bad] = std::from_chars(body.data(), end, value);
  if (bad == std::errc{} && stop == end && std::isfinite(value)) return value;
  return nullptr;
}

std::string escape_pointer(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

json convert(const yaml_node& node, const std::string& path, std::map<std::string, int>* lines) {
  if (lines != nullptr) lines->emplace(path, node.line);
  switch (node.what) {
    case yaml_node::kind::sequence: {
      json out = json::array();
      for (std::size_t i = 0; i < node.items.size(); ++i) {
        out.push_back(convert(node.items[i], path + "/" + std::to_string(i), lines));
      }
      return out;
    }
    case yaml_node::kind::mapping: {
      json out = json::object();
      for (const auto& member : node.members) {
        const std::string below = path + "/" + escape_pointer(member.name);
        if (lines != nullptr) lines->emplace(below, member.line);
        out[member.name] = convert(member.value, below, lines);
      }
      return out;
    }
    case yaml_node::kind::scalar:
      break;
    default:
      return nullptr;
  }
  if (!node.plain) return node.text;
  if (node.text == "true" || node.text == "True" || node.text == "TRUE") return true;
  if (node.text == "false" || node.text == "False" || node.text == "FALSE") return false;
  json number = number_of(node.text);
  if (!number.is_null()) return number;
  return node.text;
}

// Whether `text` needs no quotes: it reads back as the same text, also by YAML 1.1 readers.
bool plain_is_safe(const std::string& text) {
  if (text.empty() || text.size() > 200) return false;
  const auto harmless = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.' ||
           c == '/' || c == '*' || c == ' ' || c == '@' || c == '+' || c == ',' || c == '(' || c == ')' || c == ':';
  };
  if (!std::all_of(text.begin(), text.end(), harmless)) return false;
  const char first = text.front();
  const bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/' || first == '_';
  if (!letter || text.back() == ' ' || text.back() == ':' || text.find(": ") != std::string::npos) return false;
  static constexpr std::string_view words[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(std::begin(words), std::end(words), lower) == std::end(words);
}

std::string scalar_text(const json& value) {
  if (value.is_string() && plain_is_safe(value.get_ref<const std::string&>())) return value.get<std::string>();
  // A JSON string is a YAML double-quoted scalar; numbers, truth values and null are the same in both.
  return to_text(value);
}

void write(const json& value, int indent, std::string& out) {
  const std::string pad(static_cast<std::size_t>(indent) * 2, ' ');
  const auto nested = [](const json& v) { return v.is_structured() && !v.empty(); };
  if (value.is_array()) {
    for (const json& item : value) {
      if (!nested(item)) {
        out += pad + "- " + scalar_text(item) + "\n";
        continue;
      }
      // The first line of the nested block goes beside the dash.
      std::string block;
      write(item, indent + 1, block);
      block.replace(0, pad.size() + 2, pad + "- ");
      out += block;
    }
    return;
  }
  for (const auto& [key, item] : value.items()) {
    out += pad + scalar_text(json(key)) + ":";
    if (!nested(item)) {
      out += " " + scalar_text(item) + "\n";
    } else {
      out += "\n";
      write(item, indent + 1, out);
    }
  }
}

}  // namespace

json to_json(const yaml_node& node, std::map<std::string, int>* lines) { return convert(node, "", lines); }

std::string to_yaml(const json& value) {
  if (!value.is_structured() || value.empty()) return scalar_text(value) + "\n";
  std::string out;
  write(value, 0, out);
  return out;
}

}  // namespace caged::config
