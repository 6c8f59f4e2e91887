#include "core/journal/redaction.hpp"

#include <mutex>

namespace caged::journal {
namespace {

constexpr std::size_t shortest = 8;
constexpr std::string_view mark = "[redacted]";

// What follows the prefix of a credential of ours, when it is one: 16 characters or more.
bool replace_own(std::string& text) {
  bool changed = false;
  for (std::size_t at = text.find("caged_"); at != std::string::npos; at = text.find("caged_", at)) {
    const std::string_view rest = std::string_view(text).substr(at + 6);
    std::size_t prefix = 0;
    for (const std::string_view kind : {"box_", "sk_", "wst_"})
      if (rest.starts_with(kind)) prefix = kind.size();
    std::size_t end = prefix;
    while (prefix != 0 && end < rest.size() &&
           (std::isalnum(static_cast<unsigned char>(rest[end])) != 0 || rest[end] == '-' || rest[end] == '_'))
      ++end;
    if (prefix == 0 || end - prefix < 16) {
      at += 6;
      continue;
    }
    text.replace(at, 6 + end, mark);
    at += mark.size();
    changed = true;
  }
  return changed;
}

}  // namespace

result<void> redactor::add(std::string secret) {
  if (secret.size() < shortest)
    return fail(
        errc::invalid_argument, "secret_too_short",
        "the secret has " + std::to_string(secret.size()) + " bytes; below 8 it cannot be told from ordinary text",
        "Use a longer secret.");
  std::unique_lock lock(mutex_);
  ++secrets_[std::move(secret)];
  return {};
}

void redactor::remove(const std::string& secret) {
  std::unique_lock lock(mutex_);
  const auto found = secrets_.find(secret);
  if (found != secrets_.end() && --found->second == 0) secrets_.erase(found);
}

void redactor::clean(json& value) const {
  std::shared_lock lock(mutex_);
  walk(value);
}

void redactor::clean(std::string& text) const {
  std::shared_lock lock(mutex_);
  replace_in(text);
}

// Longest first: a secret that contains another one must not leave its rest behind.
bool redactor::replace_in(std::string& text) const {
  if (text.size() < shortest) return false;
  bool changed = replace_own(text);
  for (std::size_t at = 0; !secrets_.empty() && at + shortest <= text.size();) {
    std::size_t best = 0, where = std::string::npos;
    for (const auto& [secret, count] : secrets_) {
      const std::size_t found = text.find(secret, at);
      if (found == std::string::npos || found > where || (found == where && secret.size() <= best)) continue;
      where = found;
      best = secret.size();
    }
    if (where == std::string::npos) break;
    text.replace(where, best, mark);
    at = where + mark.size();
    changed = true;
  }
  return changed;
}

void redactor::walk(json& value) const {
  if (value.is_string()) {
    replace_in(value.get_ref<std::string&>());
  } else if (value.is_array()) {
    for (auto& item : value) walk(item);
  } else if (value.is_object()) {
    std::vector<std::pair<std::string, std::string>> renamed;
    for (auto& [name, item] : value.items()) {
      walk(item);
      std::string clean_name = name;
      if (replace_in(clean_name)) renamed.emplace_back(name, std::move(clean_name));
    }
    for (auto& [from, to] : renamed) {
      json item = std::move(value[from]);
      value.erase(from);
      value[to] = std::move(item);
    }
  }
}

}  // namespace caged::journal
