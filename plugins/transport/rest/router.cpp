#include "router.hpp"

#include <algorithm>

#include "text.hpp"

namespace caged::rest {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  if (path.starts_with('/')) path.remove_prefix(1);
  while (true) {
    const auto slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

error bad_template(const operation_info& info, const std::string& why) {
  return fail(errc::invalid_argument, "bad_route",
              "the route of " + info.name + ", " + info.method + " " + info.path + ", " + why,
              "Correct the declaration of the operation.");
}

}  // namespace

result<router> router::make(const std::vector<const operation_info*>& operations) {
  router made;
  std::map<std::string, std::string> taken;
  for (const auto* info : operations) {
    if (info->method.empty() || info->path.empty()) continue;
    if (!info->path.starts_with('/')) return bad_template(*info, "does not begin with \"/\"");
    entry e;
    e.operation = info;
    std::string shape = info->method;
    for (const auto part : split(info->path)) {
      const bool braces = part.starts_with('{') && part.ends_with('}');
      if (part.empty() || (!braces && part.find_first_of("{}%") != std::string_view::npos))
        return bad_template(*info, "has a malformed segment \"" + std::string(part) + "\"");
      segment s;
      s.what = braces ? segment::kind::parameter : segment::kind::literal;
      s.text = braces ? part.substr(1, part.size() - 2) : part;
      shape += braces ? "/{}" : "/" + s.text;
      e.segments.push_back(std::move(s));
    }
    if (const auto [it, fresh] = taken.emplace(shape, info->name); !fresh)
      return bad_template(*info, "is that of " + it->second);
    made.entries_.push_back(std::move(e));
  }
  // A stable order in which "/sessions/replay" comes before "/sessions/{id}".
  std::stable_sort(made.entries_.begin(), made.entries_.end(), [](const entry& a, const entry& b) {
    return std::lexicographical_compare(a.segments.begin(), a.segments.end(), b.segments.begin(), b.segments.end(),
                                        [](const segment& x, const segment& y) { return x.what < y.what; });
  });
  return made;
}

route_match router::match(std::string_view method, std::string_view path) const {
  route_match found;
  if (!path.starts_with('/')) return found;
  if (method == "HEAD") method = "GET";
  const auto parts = split(path);
  const entry* path_owner = nullptr;
  for (const auto& e : entries_) {
    if (e.segments.size() != parts.size()) continue;
    path_parameters values;
    const bool fits =
        std::equal(parts.begin(), parts.end(), e.segments.begin(), [&values](std::string_view part, const segment& s) {
          if (s.what == segment::kind::literal) return part == s.text;
          auto value = percent_decode(part);
          if (!value || value->empty() || *value == "." || *value == ".." || !is_utf8(*value)) return false;
          if (value->find('\0') != std::string::npos) return false;
          values.emplace(s.text, std::move(*value));
          return true;
        });
    if (!fits) continue;
    // The most literal template owns the path: a method it lacks is not looked for in a vaguer one.
    const auto same_shape = [&e](const entry& other) {
      return std::equal(e.segments.begin(), e.segments.end(), other.segments.begin(), other.segments.end(),
                        [](const segment& x, const segment& y) {
                          return x.what == y.what && (x.what == segment::kind::parameter || x.text == y.text);
                        });
    };
    if (path_owner != nullptr && !same_shape(*path_owner)) continue;
    path_owner = &e;
    found.allowed.push_back(e.operation->method);
    if (e.operation->method == "GET") found.allowed.emplace_back("HEAD");
    if (e.operation->method != method) continue;
    found.operation = e.operation;
    found.parameters = std::move(values);
  }
  if (path_owner != nullptr) found.allowed.emplace_back("OPTIONS");
  return found;
}

}  // namespace caged::rest
