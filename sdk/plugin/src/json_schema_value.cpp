#include "json_schema_value.hpp"

#include <cmath>

namespace caged::schema {
namespace {

// Wide enough for all of int64, uint64 and double on x86-64 (64 bits of mantissa) and AArch64 (113).
long double wide(const json& number) {
  if (number.is_number_unsigned()) return static_cast<long double>(number.get<std::uint64_t>());
  if (number.is_number_integer()) return static_cast<long double>(number.get<std::int64_t>());
  return number.get<double>();
}

std::string shortened(std::string text) {
  constexpr std::size_t most = 60;
  if (text.size() <= most) return text;
  std::size_t cut = most;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "…";
}

std::string_view next_token(std::string_view& rest) {
  rest.remove_prefix(1);
  const auto end = rest.find('/');
  const auto token = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end);
  return token;
}

bool is_index(std::string_view token) {
  return !token.empty() && token.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

bool is_integer(const json& value) {
  if (!value.is_number_float()) return value.is_number();
  const double number = value.get<double>();
  return std::isfinite(number) && std::trunc(number) == number;
}

int compare_numbers(const json& a, const json& b) {
  const long double x = wide(a), y = wide(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

bool is_multiple(const json& value, const json& divisor) {
  const long double v = wide(value), d = wide(divisor);
  if (d == 0) return false;
  const long double quotient = v / d;
  // Beyond 2^63 every quotient looks whole; only the exact remainder tells.
  if (!std::isfinite(quotient) || std::fabs(quotient) > 9.2e18L) return std::fmod(v, d) == 0;
  const bool whole_numbers = is_integer(value) && is_integer(divisor);
  if (whole_numbers) return std::fmod(v, d) == 0;
  // 0.0075 is a multiple of 0.0001 for people, though not for binary fractions.
  return std::fabs(std::nearbyint(quotient) * d - v) <= std::fabs(v) * 4.5e-16L;
}

bool equal(const json& a, const json& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type() != b.type() || a.size() != b.size()) return false;
  if (a.is_array()) {
    for (std::size_t i = 0; i < a.size(); ++i)
      if (!equal(a[i], b[i])) return false;
    return true;
  }
  if (a.is_object()) {
    for (const auto& [key, value] : a.items()) {
      const auto other = b.find(key);
      if (other == b.end() || !equal(value, *other)) return false;
    }
    return true;
  }
  return a == b;
}

std::string canonical(const json& value) {
  if (value.is_number()) {
    char text[64];
    std::snprintf(text, sizeof text, "%.25Lg", wide(value));
    return text;
  }
  if (!value.is_structured()) return to_text(value);
  std::string out = value.is_array() ? "[" : "{";
  for (const auto& [key, inner] : value.items()) {
    if (value.is_object()) out += to_text(json(key)) + ":";
    out += canonical(inner) + ",";
  }
  return out + (value.is_array() ? "]" : "}");
}

std::uint64_t code_points(const std::string& text) {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

unsigned types_of(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return type_null;
    case json::value_t::boolean:
      return type_boolean;
    case json::value_t::string:
      return type_string;
    case json::value_t::array:
      return type_array;
    case json::value_t::object:
      return type_object;
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
      return type_integer | type_number;
    case json::value_t::number_float:
      return is_integer(value) ? type_integer | type_number : type_number;
    default:
      return 0;
  }
}

std::string type_words(unsigned types) {
  static constexpr std::pair<unsigned, std::string_view> words[] = {
      {type_null, "null"},       {type_boolean, "a boolean"}, {type_integer, "an integer"}, {type_number, "a number"},
      {type_string, "a string"}, {type_array, "an array"},    {type_object, "an object"}};
  std::string out;
  for (const auto& [bit, word] : words)
    if (types & bit) out += (out.empty() ? "" : " or ") + std::string(word);
  return out;
}

std::string show(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::string:
      return "the string " + shortened(to_text(value));
    case json::value_t::array:
      return "an array of " + std::to_string(value.size());
    case json::value_t::object:
      return "an object";
    case json::value_t::boolean:
      return to_text(value);
    default:
      return "the number " + to_text(value);
  }
}

std::string plain_number(const json& number) {
  const double value = number.is_number_float() ? number.get<double>() : 0.5;
  return value == std::floor(value) && std::abs(value) < 1e15 ? std::to_string(static_cast<std::int64_t>(value))
                                                              : to_text(number);
}

std::string show_list(const json& values) {
  constexpr std::size_t most = 12;
  std::string out;
  for (std::size_t i = 0; i < values.size() && i < most; ++i) out += (i ? ", " : "") + shortened(to_text(values[i]));
  return values.size() > most ? out + ", …" : out;
}

bool pointer_less(const std::string& a, const std::string& b) {
  std::string_view x = a, y = b;
  while (!x.empty() && !y.empty()) {
    const auto s = next_token(x), t = next_token(y);
    if (s == t) continue;
    if (is_index(s) && is_index(t) && s.size() != t.size()) return s.size() < t.size();
    return s < t;
  }
  return x.empty() && !y.empty();
}

}  // namespace caged::schema
