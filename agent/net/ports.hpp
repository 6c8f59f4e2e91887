// Which TCP ports of the box are listened on.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "arguments.hpp"

namespace caged::agent {

struct listening_port {
  int port = 0;
  std::string address;  // "127.0.0.1", "::"
  std::uint32_t uid = 0;
  bool operator<(const listening_port& o) const { return std::tie(port, address) < std::tie(o.port, o.address); }
};

struct port_changes {
  std::vector<listening_port> opened, closed;
};

// {port, address, protocol: "tcp"|"tcp6", uid}
json to_json(const listening_port& p);

class port_watch {
 public:
  port_changes poll();  // what changed since the last poll
  json list() const;    // {ports: […]}, looked up now

 private:
  std::set<listening_port> known_;
};

// The listeners in the text of /proc/net/tcp or tcp6. Lines that do not fit are left out.
void parse_listeners(const std::string& text, std::set<listening_port>& out);

}  // namespace caged::agent
