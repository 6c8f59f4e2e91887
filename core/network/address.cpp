#include "core/network/address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace caged::network {
namespace {

namespace ip = boost::asio::ip;
using namespace std::chrono_literals;

template <std::size_t N>
bool same_bits(const std::array<unsigned char, N>& a, const std::array<unsigned char, N>& b, unsigned bits) {
  const unsigned whole = bits / 8;
  if (std::memcmp(a.data(), b.data(), whole) != 0) return false;
  const unsigned rest = bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<unsigned char>(0xff << (8 - rest));
  return (a[whole] & mask) == (b[whole] & mask);
}

struct named_block {
  address_block block;
  std::string_view name;
};

// First match wins, so the narrow ones come first.
const std::vector<named_block>& classes() {
  static const std::vector<named_block> table = [] {
    std::vector<named_block> out;
    constexpr std::pair<const char*, std::string_view> rows[] = {{"169.254.169.254/32", "metadata"},
                                                                 {"169.254.170.2/32", "metadata"},
                                                                 {"100.100.100.200/32", "metadata"},
                                                                 {"168.63.129.16/32", "metadata"},
                                                                 {"fd00:ec2::254/128", "metadata"},
                                                                 {"0.0.0.0/8", "unspecified"},
                                                                 {"127.0.0.0/8", "loopback"},
                                                                 {"10.0.0.0/8", "private"},
                                                                 {"172.16.0.0/12", "private"},
                                                                 {"192.168.0.0/16", "private"},
                                                                 {"100.64.0.0/10", "private"},
                                                                 {"169.254.0.0/16", "link-local"},
                                                                 {"192.0.0.0/24", "reserved"},
                                                                 {"198.18.0.0/15", "reserved"},
                                                                 {"224.0.0.0/4", "multicast"},
                                                                 {"240.0.0.0/4", "reserved"},
                                                                 {"::1/128", "loopback"},
                                                                 {"::/128", "unspecified"},
                                                                 {"fc00::/7", "private"},
                                                                 {"fec0::/10", "private"},
                                                                 {"fe80::/10", "link-local"},
                                                                 {"ff00::/8", "multicast"},
                                                                 {"100::/64", "reserved"},
                                                                 {"5f00::/16", "reserved"}};
    for (const auto& [text, name] : rows) out.push_back({*parse_block(text), name});
    return out;
  }();
  return table;
}

ip_address v4_at(const ip::address_v6::bytes_type& b, std::size_t at) {
  return ip::address_v4(ip::address_v4::bytes_type{b[at], b[at + 1], b[at + 2], b[at + 3]});
}

// The IPv4 address that a packet to this IPv6 address may end at.
std::optional<ip_address> carried_v4(const ip::address_v6& address) {
  const auto b = address.to_bytes();
  const auto zeros = [&b](std::size_t from, std::size_t to) {
    return std::all_of(b.begin() + static_cast<long>(from), b.begin() + static_cast<long>(to),
                       [](unsigned char c) { return c == 0; });
  };
  if (zeros(0, 10) && b[10] == 0xff && b[11] == 0xff) return v4_at(b, 12);                // mapped
  if (zeros(0, 8) && b[8] == 0xff && b[9] == 0xff && zeros(10, 12)) return v4_at(b, 12);  // translated (SIIT)
  if (zeros(0, 12) && !zeros(12, 15)) return v4_at(b, 12);                                // compatible
  if (b[0] == 0x00 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b) return v4_at(b, 12);  // NAT64
  if (b[0] == 0x20 && b[1] == 0x02) return v4_at(b, 2);                                   // 6to4
  if (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0) {                           // Teredo: inverted
    return ip::address_v4(
        ip::address_v4::bytes_type{static_cast<unsigned char>(~b[12]), static_cast<unsigned char>(~b[13]),
                                   static_cast<unsigned char>(~b[14]), static_cast<unsigned char>(~b[15])});
  }
  return std::nullopt;
}

}  // namespace

bool address_block::contains(const ip_address& address) const noexcept {
  const ip_address plain = unmapped(address);
  if (plain.is_v4() != base.is_v4()) return false;
  if (base.is_v4()) return same_bits(base.to_v4().to_bytes(), plain.to_v4().to_bytes(), bits);
  return same_bits(base.to_v6().to_bytes(), plain.to_v6().to_bytes(), bits);
}

std::optional<address_block> parse_block(std::string_view text) {
  const auto slash = text.find('/');
  const auto base = parse_address(text.substr(0, slash));
  if (!base) return std::nullopt;
  const unsigned most = base->is_v4() ? 32 : 128;
  unsigned bits = most;
  if (slash != std::string_view::npos) {
    const auto digits = text.substr(slash + 1);
    const auto [stop, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (bad != std::errc{} || stop != digits.data() + digits.size() || bits > most) return std::nullopt;
  }
  return address_block{*base, bits};
}

std::optional<ip_address> parse_address(std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  const std::string word(text);
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, word.c_str(), &v4) == 1) return ip::address_v4(ntohl(v4.s_addr));
  if (::inet_pton(AF_INET6, word.c_str(), &v6) != 1) return std::nullopt;
  ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), &v6, bytes.size());
  return ip_address(ip::address_v6(bytes));
}

ip_address unmapped(const ip_address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  return address;
}

std::string_view class_of(const ip_address& address) {
  for (const auto& row : classes())
    if (row.block.contains(address)) return row.name;
  if (!address.is_v6()) return {};
  const auto inner = carried_v4(address.to_v6());
  return inner ? class_of(*inner) : std::string_view();
}

bool own_addresses::contains(const ip_address& address) {
  const auto now = std::chrono::steady_clock::now();
  if (read_ == std::chrono::steady_clock::time_point{} || now - read_ > 5s) {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) == 0) {
      known_.clear();
      for (const auto* i = list; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr == nullptr) continue;
        if (i->ifa_addr->sa_family == AF_INET) {
          known_.emplace_back(ip::address_v4(ntohl(reinterpret_cast<sockaddr_in*>(i->ifa_addr)->sin_addr.s_addr)));
        } else if (i->ifa_addr->sa_family == AF_INET6) {
          ip::address_v6::bytes_type bytes;
          std::memcpy(bytes.data(), &reinterpret_cast<sockaddr_in6*>(i->ifa_addr)->sin6_addr, bytes.size());
          known_.emplace_back(ip::address_v6(bytes));
        }
      }
      ::freeifaddrs(list);
      read_ = now;
    }
  }
  const ip_address plain = unmapped(address);
  return std::any_of(known_.begin(), known_.end(), [&plain](const auto& own) {
    return own.is_v4() == plain.is_v4() &&
           (own.is_v4() ? own == plain : own.to_v6().to_bytes() == plain.to_v6().to_bytes());
  });
}

}  // namespace caged::network
