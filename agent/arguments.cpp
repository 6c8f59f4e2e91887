#include "arguments.hpp"

#include <cstdlib>

#include "handle.hpp"

namespace caged::agent {
namespace {

const json& nothing() {
  static const json empty = json::object();
  return empty;
}

std::string pointer(const char* name) { return "/" + std::string(name); }

}  // namespace

arguments::arguments(const json& object) : object_(object.is_null() ? nothing() : object) {
  if (!object_.is_object()) throw bad_argument("", "the arguments are not an object", "Send {\"args\": {…}}.");
}

const json* arguments::find(const char* name) const {
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool arguments::has(const char* name) const { return find(name) != nullptr; }

std::string arguments::text(const char* name, std::string otherwise) const {
  const json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) throw bad_argument(pointer(name), std::string(name) + " is not a string");
  std::string text = value->get<std::string>();
  if (text.find('\0') != std::string::npos) throw bad_argument(pointer(name), std::string(name) + " holds a NUL byte");
  return text;
}

std::string arguments::text(const char* name) const {
  if (!has(name)) throw bad_argument(pointer(name), std::string(name) + " is missing");
  return text(name, {});
}

bool arguments::flag(const char* name, bool otherwise) const {
  const json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw bad_argument(pointer(name), std::string(name) + " is neither true nor false");
  return value->get<bool>();
}

std::int64_t arguments::number(const char* name, std::int64_t low, std::int64_t high, std::int64_t otherwise) const {
  const json* value = find(name);
  if (value == nullptr) return otherwise;
  bool fits = value->is_number_integer();
  if (fits && value->is_number_unsigned()) fits = value->get<std::uint64_t>() <= static_cast<std::uint64_t>(high);
  const std::int64_t number = fits ? value->get<std::int64_t>() : 0;
  if (!fits || number < low || number > high)
    throw bad_argument(pointer(name), std::string(name) + " is not a whole number from " + std::to_string(low) +
                                          " to " + std::to_string(high));
  return number;
}

std::int64_t arguments::number(const char* name, std::int64_t low, std::int64_t high) const {
  if (!has(name)) throw bad_argument(pointer(name), std::string(name) + " is missing");
  return number(name, low, high, low);
}

std::vector<std::string> arguments::texts(const char* name) const {
  std::vector<std::string> out;
  const json* value = find(name);
  if (value == nullptr) return out;
  if (!value->is_array()) throw bad_argument(pointer(name), std::string(name) + " is not a list of strings");
  for (const json& item : *value) {
    if (!item.is_string()) throw bad_argument(pointer(name), std::string(name) + " is not a list of strings");
    out.push_back(item.get<std::string>());
    if (out.back().find('\0') != std::string::npos)
      throw bad_argument(pointer(name), std::string(name) + " holds a NUL byte");
  }
  return out;
}

const json& arguments::object(const char* name) const {
  const json* value = find(name);
  if (value == nullptr) return nothing();
  if (!value->is_object()) throw bad_argument(pointer(name), std::string(name) + " is not an object");
  return *value;
}

std::string arguments::path(const char* name, std::string otherwise) const {
  const std::string encoded = std::string(name) + "_base64";
  std::string path = otherwise;
  if (has(encoded.c_str())) {
    auto bytes = base64_decode(text(encoded.c_str()));
    if (!bytes) throw bad_argument("/" + encoded, encoded + " is not base64");
    path = std::move(*bytes);
  } else if (has(name)) {
    path = text(name);
    if (path.empty()) throw bad_argument(pointer(name), std::string(name) + " is empty", "Name a file or folder.");
  }
  if (path.find('\0') != std::string::npos) throw bad_argument(pointer(name), std::string(name) + " holds a NUL byte");
  if (path.size() > 4095) throw bad_argument(pointer(name), std::string(name) + " is longer than 4095 bytes");
  return path;
}

std::string arguments::path(const char* name) const {
  std::string value = path(name, {});
  if (value.empty())
    throw bad_argument(pointer(name), std::string(name) + " is missing or empty", "Name a file or folder.");
  return value;
}

std::string base64_encode(std::string_view bytes) {
  static constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (int k = 0; k < 4; ++k)
      out += i + static_cast<std::size_t>(k) > bytes.size() ? '=' : letters[group >> (18 - 6 * k) & 63];
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  std::string out;
  unsigned group = 0;
  int bits = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    unsigned v = 0;
    if (c >= 'A' && c <= 'Z')
      v = static_cast<unsigned>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      v = static_cast<unsigned>(c - 'a' + 26);
    else if (c >= '0' && c <= '9')
      v = static_cast<unsigned>(c - '0' + 52);
    else if (c == '+')
      v = 62;
    else if (c == '/')
      v = 63;
    else
      return std::nullopt;
    group = group << 6 | v;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(group >> bits & 0xff);
    }
  }
  return out;
}

bool valid_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t more = c < 0x80                ? 0
                             : c >= 0xc2 && c < 0xe0 ? 1
                             : c >= 0xe0 && c < 0xf0 ? 2
                             : c >= 0xf0 && c < 0xf5 ? 3
                                                     : 9;
    if (more == 9 || i + more >= text.size()) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto n = static_cast<unsigned char>(text[i + k]);
      if ((n & 0xc0) != 0x80) return false;
      if (k == 1 &&
          ((c == 0xe0 && n < 0xa0) || (c == 0xed && n > 0x9f) || (c == 0xf0 && n < 0x90) || (c == 0xf4 && n > 0x8f)))
        return false;
    }
    i += more + 1;
  }
  return true;
}

void put_path(json& out, const char* name, std::string_view bytes) {
  out[name] = bytes;
  if (!valid_utf8(bytes)) out[std::string(name) + "_base64"] = base64_encode(bytes);
}

}  // namespace caged::agent
