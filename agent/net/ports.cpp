#include "net/ports.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "proc_fs.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_table = 4u << 20;
constexpr std::string_view listen_state = "0A";

// The kernel prints addresses as 32-bit words of host order.
bool read_address(std::string_view hex, std::string& out) {
  if (hex.size() != 8 && hex.size() != 32) return false;
  unsigned char bytes[16];
  for (std::size_t word = 0; word * 8 < hex.size(); ++word) {
    const auto value =
        static_cast<std::uint32_t>(std::strtoul(std::string(hex.substr(word * 8, 8)).c_str(), nullptr, 16));
    std::memcpy(bytes + word * 4, &value, 4);
  }
  char text[INET6_ADDRSTRLEN];
  if (::inet_ntop(hex.size() == 8 ? AF_INET : AF_INET6, bytes, text, sizeof text) == nullptr) return false;
  out = text;
  return true;
}

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < line.size();) {
    at = line.find_first_not_of(' ', at);
    if (at == std::string_view::npos) break;
    const std::size_t end = std::min(line.find(' ', at), line.size());
    out.emplace_back(line.substr(at, end - at));
    at = end;
  }
  return out;
}

std::set<listening_port> look() {
  std::set<listening_port> found;
  parse_listeners(read_small("/proc/net/tcp", max_table), found);
  parse_listeners(read_small("/proc/net/tcp6", max_table), found);
  return found;
}

}  // namespace

void parse_listeners(const std::string& text, std::set<listening_port>& out) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const auto field = words(std::string_view(text).substr(at, end - at));
    at = end + 1;
    // sl local_address rem_address st tx:rx tr:tm retrnsmt uid
    if (field.size() < 8 || field[3] != listen_state) continue;
    const std::size_t colon = field[1].find(':');
    listening_port row;
    if (colon == std::string::npos || !read_address(std::string_view(field[1]).substr(0, colon), row.address)) continue;
    const auto port = std::strtoul(field[1].c_str() + colon + 1, nullptr, 16);
    if (port == 0 || port > 65535) continue;
    row.port = static_cast<int>(port);
    row.uid = static_cast<std::uint32_t>(std::strtoul(field[7].c_str(), nullptr, 10));
    out.insert(std::move(row));
  }
}

json to_json(const listening_port& p) {
  const bool six = p.address.find(':') != std::string::npos;
  return json{{"port", p.port}, {"address", p.address}, {"protocol", six ? "tcp6" : "tcp"}, {"uid", p.uid}};
}

port_changes port_watch::poll() {
  std::set<listening_port> now = look();
  port_changes changes;
  std::set_difference(now.begin(), now.end(), known_.begin(), known_.end(), std::back_inserter(changes.opened));
  std::set_difference(known_.begin(), known_.end(), now.begin(), now.end(), std::back_inserter(changes.closed));
  known_ = std::move(now);
  return changes;
}

json port_watch::list() const {
  json rows = json::array();
  for (const listening_port& p : look()) rows.push_back(to_json(p));
  json value = json::object();
  value["ports"] = std::move(rows);
  return value;
}

}  // namespace caged::agent
