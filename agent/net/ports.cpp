#include "net/ports.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "proc_fs.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_table = 4u << 20;
constexpr const char* listen_state = "0A";

// The kernel prints addresses as 32-bit words of host order.
bool read_address(std::string_view hex, std::string& out) {
  if (hex.size() != 8 && hex.size() != 32) return false;
  unsigned char bytes[16];
  for (std::size_t word = 0; word * 8 < hex.size(); ++word) {
    unsigned value = 0;
    if (std::sscanf(std::string(hex.substr(word * 8, 8)).c_str(), "%8x", &value) != 1) return false;
    std::memcpy(bytes + word * 4, &value, 4);
  }
  char text[INET6_ADDRSTRLEN];
  if (::inet_ntop(hex.size() == 8 ? AF_INET : AF_INET6, bytes, text, sizeof text) == nullptr) return false;
  out = text;
  return true;
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
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    char address[33] = "", state[3] = "";
    unsigned port = 0, uid = 0;
    if (std::sscanf(line.c_str(), " %*u: %32[0-9A-F]:%4x %*[0-9A-F]:%*x %2s %*s %*s %*s %u", address, &port, state, &uid) != 4)
      continue;
    listening_port row;
    if (std::strcmp(state, listen_state) != 0 || port == 0 || !read_address(address, row.address)) continue;
    row.port = static_cast<int>(port);
    row.uid = uid;
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
