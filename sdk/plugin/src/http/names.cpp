#include "names.hpp"

#include <algorithm>

#include "head.hpp"

namespace caged::http {
namespace {

bool is_loopback_name(std::string_view host) noexcept {
  return host == "localhost" || host == "127.0.0.1" || host == "::1";
}

// "https://example.org" → "example.org:443"; "" when it is no http(s) origin.
std::string authority_with_port(std::string_view scheme, std::string_view authority) {
  const auto host = host_of(authority);
  if (!host) return {};
  const auto bracket = authority.rfind(']');
  const auto colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  const std::string_view port = has_port && colon + 1 < authority.size() ? authority.substr(colon + 1)
                                : scheme == "https"                      ? std::string_view("443")
                                                                         : std::string_view("80");
  return *host + ":" + std::string(port);
}

}  // namespace

bool own_names::is_ours(std::string_view host, std::string_view local_address) const {
  return is_loopback_name(host) || (!local_address.empty() && host == local_address) ||
         std::find(names.begin(), names.end(), host) != names.end();
}

bool own_names::origin_allowed(std::string_view origin, std::string_view request_host) const {
  if (origin.empty()) return true;
  for (const auto& allowed : origins)
    if (equal_ignoring_case(origin, allowed)) return true;
  const auto mark = origin.find("://");
  if (mark == std::string_view::npos) return false;
  const auto scheme = origin.substr(0, mark);
  if (scheme != "http" && scheme != "https") return false;
  const auto theirs = authority_with_port(scheme, origin.substr(mark + 3));
  return !theirs.empty() && theirs == authority_with_port(scheme, request_host);
}

bool path_under(std::string_view path, std::string_view prefix) noexcept {
  if (prefix == "/") return true;
  // A segment "*" takes any one segment.
  while (true) {
    const auto star = prefix.find("/*");
    if (star == std::string_view::npos) break;
    if (!path.starts_with(prefix.substr(0, star + 1))) return false;
    path.remove_prefix(star + 1);
    const auto end = path.find('/');
    if (end == 0 || path.empty()) return false;
    path.remove_prefix(end == std::string_view::npos ? path.size() : end);
    prefix.remove_prefix(star + 2);
  }
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

std::shared_ptr<const handler> find_route(const std::vector<route_entry>& routes, std::string_view host, bool ours,
                                          std::string_view path, route_miss& why) {
  const route_entry* best = nullptr;
  why = ours ? route_miss::unknown_path : route_miss::unknown_host;
  for (const auto& entry : routes) {
    if (entry.suffix.empty()) {
      if (!ours) continue;
    } else {
      const bool under =
          host == entry.suffix || (host.size() > entry.suffix.size() + 1 && host.ends_with(entry.suffix) &&
                                   host[host.size() - entry.suffix.size() - 1] == '.');
      if (!under) continue;
      why = route_miss::unknown_path;
    }
    if (!path_under(path, entry.prefix)) continue;
    const bool better = best == nullptr || entry.suffix.size() > best->suffix.size() ||
                        (entry.suffix.size() == best->suffix.size() && entry.prefix.size() > best->prefix.size());
    if (better) best = &entry;
  }
  return best == nullptr ? nullptr : best->target;
}

}  // namespace caged::http
