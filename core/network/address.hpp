// Classes of Internet addresses: which of them nobody inside a sandbox may reach.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace caged::network {

using ip_address = boost::asio::ip::address;

// "10.0.0.0/8", "fd00::/8" or a single address.
struct address_block {
  ip_address base;
  unsigned bits = 0;

  // IPv4-mapped addresses count as IPv4.
  bool contains(const ip_address& address) const noexcept;
};
std::optional<address_block> parse_block(std::string_view text);

// Strict: dotted decimal without leading zeros, or IPv6 without a zone; brackets are taken off.
std::optional<ip_address> parse_address(std::string_view text);

// ::ffff:a.b.c.d → a.b.c.d; anything else as it is.
ip_address unmapped(const ip_address& address);

// "loopback", "private", "link-local", "metadata", "multicast", "reserved", "unspecified"; "" for public addresses.
// An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo) has that one's class.
std::string_view class_of(const ip_address& address);

// The addresses of this machine's interfaces; read again when older than a few seconds. Not thread-safe.
class own_addresses {
 public:
  bool contains(const ip_address& address);

 private:
  std::vector<ip_address> known_;
  std::chrono::steady_clock::time_point read_{};
};

}  // namespace caged::network
