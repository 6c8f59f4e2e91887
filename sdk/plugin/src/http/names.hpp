// Which host names and browser origins are ours, and which route a path belongs to. No sockets.
#pragma once

#include <caged/http.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace caged::http {

// The names under which a server may be called. A page that rebinds its DNS name to us still sends its own name.
struct own_names {
  std::vector<std::string> names;    // configured, lower case
  std::vector<std::string> origins;  // configured, "scheme://host[:port]"

  // `local_address`: the address the connection came in on; an address literal cannot be rebound.
  bool is_ours(std::string_view host, std::string_view local_address) const;
  // Same origin as the Host of the request, or configured. "null" and opaque origins are not.
  bool origin_allowed(std::string_view origin, std::string_view request_host) const;
};

struct route_entry {
  std::string suffix;                     // "" = our own names
  std::string prefix;                     // "/v1"; "/" = everything
  std::shared_ptr<const handler> target;
};

enum class route_miss : std::uint8_t { unset = 0, unknown_host, unknown_path };

// The longest suffix, then the longest prefix on whole segments. On a miss null, with the reason in `why`.
std::shared_ptr<const handler> find_route(const std::vector<route_entry>& routes, std::string_view host, bool ours,
                                          std::string_view path, route_miss& why);

// Whether `path` lies under `prefix` on whole segments.
bool path_under(std::string_view path, std::string_view prefix) noexcept;

}  // namespace caged::http
