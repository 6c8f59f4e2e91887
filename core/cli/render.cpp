#include <core/cli/render.hpp>

#include <core/config/yaml.hpp>

#include <cmath>
#include <cstdio>

namespace caged::cli {
namespace {

// The code point at `i` and its length; length 0 when the bytes are not UTF-8.
std::pair<char32_t, std::size_t> decode(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char c = byte(i);
  if (c < 0x80) return {c, 1};
  const std::size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
  if (c < 0xC2 || c > 0xF4 || i + length > text.size()) return {0, 0};
  char32_t point = c & (0xFF >> (length + 1));
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return {0, 0};
    point = (point << 6) | (byte(i + k) & 0x3F);
  }
  const char32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (point < least || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return {0, 0};
  return {point, length};
}

// C0, DEL, C1, and the marks that turn the direction of text around: all may forge what a person sees.
bool is_dangerous(char32_t p) {
  return p < 0x20 || (p >= 0x7F && p < 0xA0) || (p >= 0x202A && p <= 0x202E) || (p >= 0x2066 && p <= 0x2069) ||
         p == 0x200E || p == 0x200F || p == 0x2028 || p == 0x2029;
}

std::string make_safe(std::string_view text, std::string_view kept) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto [point, length] = decode(text, i);
    const bool keep = length == 1 && kept.find(text[i]) != std::string_view::npos;
    if (length != 0 && (keep || !is_dangerous(point))) {
      out.append(text.substr(i, length));
      i += length;
      continue;
    }
    const std::size_t bytes = std::max<std::size_t>(length, 1);
    for (std::size_t k = 0; k < bytes; ++k) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(text[i + k]));
      out += hex;
    }
    i += bytes;
  }
  return out;
}

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

bool is_wide(char32_t p) {
  return (p >= 0x1100 && p <= 0x115F) || (p >= 0x2E80 && p <= 0xA4CF) || (p >= 0xAC00 && p <= 0xD7A3) ||
         (p >= 0xF900 && p <= 0xFAFF) || (p >= 0xFE30 && p <= 0xFE6F) || (p >= 0xFF00 && p <= 0xFF60) ||
         (p >= 0xFFE0 && p <= 0xFFE6) || (p >= 0x1F300 && p <= 0x1FAFF) || (p >= 0x20000 && p <= 0x3FFFD);
}

}  // namespace

std::string printable(std::string_view text) { return make_safe(text, ""); }
std::string printable_lines(std::string_view text) { return make_safe(text, "\n\t"); }

std::string colored(std::string_view text, tint color, colors use) {
  const char* code = nullptr;
  switch (color) {
    case tint::green:
      code = "32";
      break;
    case tint::yellow:
      code = "33";
      break;
    case tint::red:
      code = "31";
      break;
    case tint::dim:
      code = "2";
      break;
    case tint::bold:
      code = "1";
      break;
    case tint::unset:
      break;
  }
  if (use != colors::on || code == nullptr) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

tint status_tint(std::string_view status) {
  if (status == "running") return tint::green;
  if (status == "pending" || status == "paused") return tint::yellow;
  if (status == "error") return tint::red;
  return tint::dim;
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return format(value < 10 ? "%.2f " : "%.1f ", value) + units[unit];
}

std::string human_duration(std::chrono::milliseconds time) {
  const auto ms = time.count();
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 60'000) return format("%.1f s", static_cast<double>(ms) / 1000);
  char text[48];
  const auto seconds = ms / 1000;
  if (seconds < 3600) {
    std::snprintf(text, sizeof text, "%lldm %02llds", static_cast<long long>(seconds / 60),
                  static_cast<long long>(seconds % 60));
  } else {
    std::snprintf(text, sizeof text, "%lldh %02lldm", static_cast<long long>(seconds / 3600),
                  static_cast<long long>(seconds / 60 % 60));
  }
  return text;
}

std::string human_dollars(double amount) {
  const double size = std::fabs(amount);
  if (size == 0) return "$0.00";
  if (size < 0.000001) return "<$0.000001";
  return "$" + format(size < 0.01 ? "%.6f" : size < 1 ? "%.4f" : "%.2f", amount);
}

std::string human_count(std::uint64_t n, std::string_view one, std::string_view many) {
  return std::to_string(n) + " " + std::string(n == 1 ? one : many);
}

std::string field(const json& object, std::string_view name) {
  if (!object.is_object()) return "-";
  const auto it = object.find(std::string(name));
  if (it == object.end() || it->is_null()) return "-";
  if (it->is_string()) return it->get_ref<const std::string&>().empty() ? "-" : it->get<std::string>();
  if (it->is_array() && it->empty()) return "-";
  if (it->is_array()) {
    std::string out;
    for (const json& item : *it) {
      out += (out.empty() ? "" : ",") + (item.is_string() ? item.get<std::string>() : to_text(item));
    }
    return out;
  }
  return to_text(*it);
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto [point, length] = decode(text, i);
    const bool combining = point >= 0x300 && point <= 0x36F;
    if (!combining) width += is_wide(point) ? 2 : 1;
    i += std::max<std::size_t>(length, 1);
  }
  return width;
}

void table::add(std::vector<std::string> cells, std::vector<tint> tints) {
  for (auto& cell : cells) cell = printable(cell);
  cells.resize(columns_.size());
  tints.resize(columns_.size(), tint::unset);
  rows_.push_back({std::move(cells), std::move(tints)});
}

std::string table::text(colors use) const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = display_width(columns_[c].title);
    for (const row& r : rows_) width = std::max(width, display_width(r.cells[c]));
    widths.push_back(width);
  }
  std::string out;
  const auto line = [&](const auto& cell_of, const auto& tint_of) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string& cell = cell_of(c);
      const std::string pad(widths[c] - display_width(cell), ' ');
      const bool right = columns_[c].align == column::side::right;
      const bool last = c + 1 == columns_.size();
      if (right) text += pad;
      text += colored(cell, tint_of(c), use);
      if (!right && !last) text += pad;
      if (!last) text += "  ";
    }
    out += text + "\n";
  };
  line([&](std::size_t c) -> const std::string& { return columns_[c].title; }, [](std::size_t) { return tint::bold; });
  for (const row& r : rows_) {
    line([&](std::size_t c) -> const std::string& { return r.cells[c]; }, [&](std::size_t c) { return r.tints[c]; });
  }
  return out;
}

std::string key_values(const std::vector<std::pair<std::string, std::string>>& pairs, colors use) {
  std::size_t width = 0;
  for (const auto& [key, value] : pairs) width = std::max(width, display_width(key));
  std::string out;
  for (const auto& [key, value] : pairs) {
    out += colored(key, tint::dim, use) + std::string(width - display_width(key) + 2, ' ') + printable(value) + "\n";
  }
  return out;
}

std::string document_text(const json& value, output_format format) {
  if (format == output_format::yaml) return config::to_yaml(value);
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string error_text(const error& e, colors use) {
  std::string out = colored("error:", tint::red, use) + " " + printable_lines(e.message);
  if (!e.path.empty()) out += " (at " + printable(e.path) + ")";
  out += "\n";
  if (!e.action.empty()) out += "  " + printable_lines(e.action) + "\n";
  return out;
}

}  // namespace caged::cli
