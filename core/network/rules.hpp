// What a sandbox may reach: host patterns, modes, and the verdict on one destination. No I/O.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/network/address.hpp"

namespace caged::network {

// "Example.ORG." → "example.org". Nothing when it is no host name: other characters than letters, digits, '-' and '_',
// an empty or too long label, an address.
std::optional<std::string> normal_name(std::string_view text);

// One entry of an allow-list: exact name, "*.one.label", "**.any.depth", an address or a block; each with ":port".
class host_pattern {
 public:
  // Refuses what would allow nearly everything ("*", "*.com", "*.co.uk") or can never match.
  static result<host_pattern> parse(std::string_view text);

  bool matches_name(std::string_view normal, std::uint16_t port) const;
  bool matches_address(const ip_address& address, std::uint16_t port) const;
  // The name or address alone, whatever the port: DNS does not know ports.
  bool covers_name(std::string_view normal) const;
  bool covers_address(const ip_address& address) const;
  const std::string& text() const noexcept { return text_; }

 private:
  enum class form : std::uint8_t { unset = 0, exact, one_label, any_depth, block };
  std::string text_, name_;  // name_: of wildcards, the part after the stars, with its dot
  form form_ = form::exact;
  address_block block_;
  std::uint16_t port_ = 0;  // 0 = any
};

enum class mode : std::uint8_t { unset = 0, none, allowlist, full, learn };
std::string_view to_string(mode m) noexcept;
std::optional<mode> parse_mode(std::string_view text) noexcept;

struct rules {
  mode access = mode::none;
  std::vector<host_pattern> allowed;
  std::uint64_t bytes_per_second = 0;  // both directions together; 0 = no limit
  std::uint64_t bytes_total = 0;
};
// `texts` in order; the error's path is /allowlist/N.
result<rules> make_rules(std::string_view access, const std::vector<std::string>& texts);

// Where a connection wants to go, as far as it is known.
struct destination {
  std::string name;  // normal; "" = none
  std::string name_source;  // "sni", "host", "dns"; "" = none
  ip_address address;
  std::uint16_t port = 0;
  std::string protocol = "tcp";  // tls http tcp
  bool hidden_name = false;  // TLS with an encrypted name (ECH): what is seen is not what is meant
  bool name_fits = true;  // false: the name does not belong to the address
};

struct verdict {
  bool allowed = false;
  std::string rule;  // the pattern, or why: "mode_full", "not_allowed" …; stable, for programs
  std::string reason;  // for people
  std::string advice;  // what to add or change
};

verdict allow(std::string rule);
verdict deny(std::string rule, std::string reason, std::string advice);

// By mode and allow-list alone; addresses that nobody may reach are the plane's matter.
verdict decide(const rules& r, const destination& to);
// Whether a name may be looked up.
verdict decide_name(const rules& r, std::string_view normal);

// "example.org:443", "[2001:db8::1]:443".
std::string shown(const destination& to);

}  // namespace caged::network
