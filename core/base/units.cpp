#include "core/base/units.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace caged::base {
namespace {

struct unit {
  std::string_view name;
  double factor;
};

constexpr std::array time_units{unit{"us", 1},     unit{"ms", 1e3},   unit{"s", 1e6},    unit{"m", 60e6},
                                unit{"min", 60e6}, unit{"h", 3600e6}, unit{"d", 86400e6}};
constexpr double ki = 1024;
constexpr std::array size_units{unit{"", 1},
                                unit{"b", 1},
                                unit{"k", ki},
                                unit{"kib", ki},
                                unit{"kb", 1e3},
                                unit{"m", ki* ki},
                                unit{"mib", ki* ki},
                                unit{"mb", 1e6},
                                unit{"g", ki* ki* ki},
                                unit{"gib", ki* ki* ki},
                                unit{"gb", 1e9},
                                unit{"t", ki* ki* ki* ki},
                                unit{"tib", ki* ki* ki* ki},
                                unit{"tb", 1e12}};
constexpr double longest_us = 100.0 * 365.25 * 86400e6;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// A plain decimal number from the front ("1.5"); no sign, exponent, "inf" or "nan".
bool take_number(std::string_view& text, double& value) {
  const std::size_t end = text.find_first_not_of("0123456789.");
  const std::string_view digits = text.substr(0, end);
  const auto [stop, err] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed);
  if (err != std::errc{} || stop != digits.data() + digits.size() || digits.front() == '.' || digits.back() == '.')
    return false;
  text.remove_prefix(digits.size());
  return true;
}

std::string_view take_unit(std::string_view& text) {
  const std::size_t end = text.find_first_of("0123456789. ");
  const std::string_view name = text.substr(0, end);
  text.remove_prefix(name.size());
  return name;
}

template <std::size_t N>
const unit* find_unit(const std::array<unit, N>& units, std::string_view name) {
  for (const auto& u : units) {
    if (u.name == name) return &u;
  }
  return nullptr;
}

error invalid(const char* reason, const char* what, std::string_view text, const char* action) {
  return fail(errc::invalid_argument, reason, "\"" + std::string(text.substr(0, 64)) + "\" is not " + what, action);
}

}  // namespace

result<std::chrono::microseconds> parse_duration(std::string_view text) {
  const error wrong =
      invalid("invalid_duration", "a duration", text, "Write for example 500ms, 30s, 10m, 1h30m or 2d.");
  std::string_view rest = trim(text);
  double total = 0;
  if (rest.empty()) return wrong;
  for (bool first = true; !rest.empty(); first = false) {
    double value = 0;
    if (!take_number(rest, value)) return wrong;
    const std::string_view name = take_unit(rest);
    const unit* u = name.empty() && first && rest.empty() ? find_unit(time_units, "s") : find_unit(time_units, name);
    if (u == nullptr) return wrong;
    total += value * u->factor;
  }
  if (!(total <= longest_us)) return wrong;
  return std::chrono::microseconds(std::llround(total));
}

std::string format_duration(std::chrono::microseconds time) {
  if (time.count() == 0) return "0s";
  const bool negative = time.count() < 0;
  std::uint64_t left =
      negative ? 0 - static_cast<std::uint64_t>(time.count()) : static_cast<std::uint64_t>(time.count());
  std::string out = negative ? "-" : "";
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> parts{
      {{"d", 86400000000}, {"h", 3600000000}, {"m", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1}}};
  for (const auto& [name, size] : parts) {
    if (left < size) continue;
    out += std::to_string(left / size) + std::string(name);
    left %= size;
  }
  return out;
}

result<std::uint64_t> parse_bytes(std::string_view text) {
  const error wrong = invalid("invalid_size", "a size", text, "Write for example 4096, 64KiB, 512MB or 1.5GiB.");
  std::string_view rest = trim(text);
  double value = 0;
  if (rest.empty() || !take_number(rest, value)) return wrong;
  const unit* u = find_unit(size_units, lower(trim(rest)));
  if (u == nullptr) return wrong;
  // Whole numbers stay exact beyond the 53 bits of a double.
  std::uint64_t whole = 0;
  const std::string_view digits = trim(text).substr(0, trim(text).size() - rest.size());
  const auto [stop, err] = std::from_chars(digits.data(), digits.data() + digits.size(), whole);
  if (err == std::errc{} && stop == digits.data() + digits.size()) {
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(whole, static_cast<std::uint64_t>(u->factor), &bytes)) return wrong;
    return bytes;
  }
  const double bytes = value * u->factor;
  if (!(bytes < 18446744073709551615.0)) return wrong;
  return static_cast<std::uint64_t>(bytes);
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr std::array names{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t i = 0;
  for (; value >= 1023.95 && i + 1 < names.size(); ++i) value /= 1024;
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.1f %s", value, names[i]);
  return out.data();
}

}  // namespace caged::base
