#include <core/config/environment.hpp>

#include <cstdlib>

namespace caged::config {
namespace {

bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool continues_name(char c) { return starts_name(c) || (c >= '0' && c <= '9'); }

error unset(std::string_view name, std::string_view where) {
  const std::string n(name);
  return fail(
      errc::invalid_argument, "unset_variable",
      std::string(where) + ": variable " + n + " is not set in your environment",
      "Set it ('export " + n + "=…'), give it a default ('${" + n + ":-default}'), or write '$$' for a dollar sign.");
}

error malformed(std::string_view found, std::string_view where) {
  return fail(
      errc::invalid_argument, "malformed_variable",
      std::string(where) + ": found '" + std::string(found.substr(0, 40)) + "', expected ${NAME} or ${NAME:-default}",
      "Write '$$' for a dollar sign.");
}

}  // namespace

environment process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

result<std::string> expand_variables(std::string_view text, const environment& env, std::string_view where) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      out += text[i++];
      continue;
    }
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (next == '$') {
      out += '$';
      i += 2;
    } else if (next == '{') {
      const std::size_t close = text.find('}', i);
      if (close == std::string_view::npos) return malformed(text.substr(i), where);
      const std::string_view inner = text.substr(i + 2, close - i - 2);
      const std::size_t length = std::find_if_not(inner.begin(), inner.end(), continues_name) - inner.begin();
      const std::string_view name = inner.substr(0, length);
      const std::string_view rest = inner.substr(length);
      if (name.empty() || !starts_name(name[0]) || (!rest.empty() && rest.substr(0, 2) != ":-")) {
        return malformed(text.substr(i, close - i + 1), where);
      }
      const auto value = env(name);
      if (rest.empty() && !value) return unset(name, where);
      out += value && (rest.empty() || !value->empty()) ? *value : std::string(rest.substr(2));
      i = close + 1;
    } else if (starts_name(next)) {
      std::size_t end = i + 1;
      while (end < text.size() && continues_name(text[end])) ++end;
      const std::string_view name = text.substr(i + 1, end - i - 1);
      const auto value = env(name);
      if (!value) return unset(name, where);
      out += *value;
      i = end;
    } else {
      out += text[i++];
    }
  }
  return out;
}

}  // namespace caged::config
