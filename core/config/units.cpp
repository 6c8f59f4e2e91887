#include <core/config/units.hpp>

#include <core/base/units.hpp>

#include <charconv>
#include <cmath>
#include <string>

namespace caged::config {
namespace {

constexpr std::chrono::hours ten_years{10 * 366 * 24};

error bad(std::string_view found, std::string_view expected, std::string action) {
  return fail(errc::invalid_argument, "invalid_amount",
              "found '" + std::string(found.substr(0, 60)) + "', expected " + std::string(expected), std::move(action));
}

// Reads a decimal number from the front of `text`; false when there is none. No sign, no exponent.
bool take_number(std::string_view& text, double& value) {
  std::size_t end = 0;
  while (end < text.size() && ((text[end] >= '0' && text[end] <= '9') || text[end] == '.')) ++end;
  const auto [stop, failed] = std::from_chars(text.data(), text.data() + end, value, std::chars_format::fixed);
  if (end == 0 || failed != std::errc{} || stop != text.data() + end || !std::isfinite(value)) return false;
  text.remove_prefix(end);
  return true;
}

}  // namespace

result<std::chrono::seconds> parse_duration(std::string_view text) {
  const auto time = base::parse_duration(text);
  if (!time)
    return bad(text, "seconds (900) or a time like 15m, 1h30m, 2d", "Use s, m, h or d; a time is not negative.");
  if (*time > ten_years) return bad(text, "at most ten years", "Use a shorter time.");
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*time);
  if (seconds != *time) return bad(text, "whole seconds", "Round it.");
  return seconds;
}

result<std::int64_t> parse_size(std::string_view text, size_unit unit) {
  const bool mebi = unit == size_unit::mebibytes;
  const std::string_view example =
      mebi ? "megabytes (512) or a size like 512M, 2G" : "gigabytes (5) or a size like 10G";
  std::string_view rest = text;
  double value = 0;
  if (!take_number(rest, value)) return bad(text, example, "A size is a number, then K, M, G or T.");
  const double one = mebi ? 1048576.0 : 1073741824.0;
  double bytes = value * one;
  if (!rest.empty()) {
    std::string suffix(rest);
    for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::string_view tail = std::string_view(suffix).substr(1);
    if (tail != "" && tail != "b" && tail != "ib") return bad(text, example, "A size is a number, then K, M, G or T.");
    switch (suffix[0]) {
      case 'k':
        bytes = value * 1024.0;
        break;
      case 'm':
        bytes = value * 1048576.0;
        break;
      case 'g':
        bytes = value * 1073741824.0;
        break;
      case 't':
        bytes = value * 1099511627776.0;
        break;
      default:
        return bad(text, example, "A size is a number, then K, M, G or T.");
    }
  }
  const double units = bytes / one;
  if (units > 1e12) return bad(text, "a size below an exabyte", "Use a smaller size.");
  if (std::floor(units) != units) {
    return bad(text, mebi ? "whole megabytes" : "whole gigabytes", "Round it up.");
  }
  return static_cast<std::int64_t>(units);
}

result<double> parse_number(std::string_view text) {
  std::string_view rest = text;
  double value = 0;
  if (!take_number(rest, value) || !rest.empty()) {
    return bad(text, "a number that is not negative, like 2 or 0.5", "Write digits with an optional decimal point.");
  }
  return value;
}

}  // namespace caged::config
