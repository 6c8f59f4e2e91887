#include "fs/pattern.hpp"

#include "handle.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_pattern = 1024;
constexpr std::size_t max_alternatives = 64;
constexpr std::size_t max_rules = 4096;

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (end > at && path.substr(at, end - at) != ".") parts.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// One "[…]" at pattern[at]; moves `at` behind it. False when it is not closed: then "[" stands for itself.
bool match_set(std::string_view pattern, std::size_t& at, char c, bool& hit) {
  std::size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (bool first = true; i < pattern.size() && (pattern[i] != ']' || first); first = false) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    const char low = pattern[i++];
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      high = pattern[i + 1];
      i += 2;
    }
    const auto u = [](char x) { return static_cast<unsigned char>(x); };
    found = found || (u(c) >= u(low) && u(c) <= u(high));
  }
  if (i >= pattern.size()) return false;
  at = i + 1;
  hit = found != negated;
  return true;
}

void expand(const std::string& pattern, std::vector<std::string>& out) {
  if (out.size() >= max_alternatives) throw bad_argument("/pattern", "the pattern has more than 64 alternatives");
  const std::size_t open = pattern.find('{');
  int depth = 0;
  std::size_t close = open;
  for (; close < pattern.size(); ++close) {
    if (pattern[close] == '{')
      ++depth;
    else if (pattern[close] == '}' && --depth == 0)
      break;
  }
  if (open == std::string::npos || close >= pattern.size()) {
    out.push_back(pattern);
    return;
  }
  std::size_t from = open + 1;
  depth = 0;
  for (std::size_t i = from; i <= close; ++i) {
    if (pattern[i] == '{') ++depth;
    if (pattern[i] == '}' && i < close) --depth;
    if ((pattern[i] != ',' || depth != 0) && i != close) continue;
    expand(pattern.substr(0, open) + pattern.substr(from, i - from) + pattern.substr(close + 1), out);
    from = i + 1;
  }
}

// Dynamic programming over both lists: no pattern makes it slow.
bool match_segments(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  std::vector<char> row(path.size() + 1, 0);
  row[0] = 1;
  for (const std::string& part : pattern) {
    std::vector<char> next(path.size() + 1, 0);
    if (part == "**") {
      char reached = 0;
      for (std::size_t i = 0; i <= path.size(); ++i) {
        reached = static_cast<char>(reached | row[i]);
        next[i] = reached;
      }
    } else {
      for (std::size_t i = 0; i < path.size(); ++i)
        if (row[i] != 0 && match_name(part, path[i])) next[i + 1] = 1;
    }
    row = std::move(next);
  }
  return row[path.size()] != 0;
}

}  // namespace

bool match_name(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, star_name = 0;
  while (n < name.size()) {
    bool hit = false;
    std::size_t after = p + 1;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_name = n;
      continue;
    }
    if (p < pattern.size()) {
      const char c = pattern[p];
      std::size_t at = p;
      if (c == '?')
        hit = true;
      else if (c == '[' && match_set(pattern, at, name[n], hit))
        after = at;
      else if (c == '\\' && p + 1 < pattern.size())
        hit = pattern[p + 1] == name[n], after = p + 2;
      else
        hit = c == name[n];
    }
    if (hit) {
      p = after;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

path_pattern::path_pattern(const std::string& pattern) {
  if (pattern.empty() || pattern.size() > max_pattern)
    throw bad_argument("/pattern", pattern.empty() ? "the pattern is empty" : "the pattern is longer than 1024 bytes");
  std::vector<std::string> plain;
  expand(pattern, plain);
  for (const std::string& one : plain) alternatives_.push_back(split(one));
}

bool path_pattern::matches(const std::string& relative_path) const {
  const auto path = split(relative_path);
  for (const auto& segments : alternatives_)
    if (match_segments(segments, path)) return true;
  return false;
}

void ignore_rules::add(const std::string& folder, std::string_view text) {
  for (std::size_t at = 0; at < text.size() && rules_.size() < max_rules;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line(text.substr(at, end - at));
    at = end + 1;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    while (!line.empty() && line.back() == ' ' && (line.size() < 2 || line[line.size() - 2] != '\\')) line.pop_back();
    if (line.empty() || line[0] == '#' || line.size() > max_pattern) continue;
    rule r{folder, {}, line[0] == '!', false, false};
    if (r.negated) line.erase(0, 1);
    if (!line.empty() && line.back() == '/') {
      r.folders_only = true;
      line.pop_back();
    }
    // A slash at the beginning or in the middle ties the rule to its folder.
    r.anchored = line.find('/') != std::string::npos;
    r.segments = split(line);
    if (r.segments.empty()) continue;
    // "a/**" means what is inside of a, not a itself.
    if (r.segments.back() == "**" && r.segments.size() > 1) r.segments.emplace_back("*");
    if (!r.anchored) r.segments.insert(r.segments.begin(), "**");
    rules_.push_back(std::move(r));
  }
}

ignore_rules::verdict ignore_rules::judge(const std::string& relative_path, bool folder) const {
  // The last rule that matches decides.
  for (auto r = rules_.rbegin(); r != rules_.rend(); ++r) {
    if (r->folders_only && !folder) continue;
    std::string_view path = relative_path;
    if (!r->base.empty()) {
      if (path.size() <= r->base.size() || path.substr(0, r->base.size()) != r->base || path[r->base.size()] != '/')
        continue;
      path.remove_prefix(r->base.size() + 1);
    }
    if (match_segments(r->segments, split(path))) return r->negated ? verdict::kept : verdict::ignored;
  }
  return verdict::unset;
}

}  // namespace caged::agent
