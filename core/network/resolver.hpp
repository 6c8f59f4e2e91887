// Asks the host's own name servers, remembers answers for their time.
#pragma once

#include <boost/asio/ip/udp.hpp>
#include <caged/task.hpp>
#include <map>
#include <string>
#include <vector>

#include "core/network/dns_message.hpp"

namespace caged::network {

// On one executor, the loop's. Answers are what the network says: nothing in them is to be trusted.
class resolver {
 public:
  struct options {
    std::vector<boost::asio::ip::udp::endpoint>
        servers;          // empty: those of /etc/resolv.conf, read again when it changes
    std::map<std::string, std::vector<ip_address>> fixed;         // names answered from here
  };
  explicit resolver(options o) : options_(std::move(o)) {}

  // One question. unavailable when no server answers; a name that does not exist is an answer.
  task<dns::answer> ask(std::string name, std::uint16_t type);
  // IPv4 and IPv6, CNAMEs followed as the server did. Empty when there are none.
  task<std::vector<ip_address>> addresses(std::string name);

 private:
  struct kept {
    dns::answer what;
    std::chrono::steady_clock::time_point until;
  };
  std::vector<boost::asio::ip::udp::endpoint> servers();
  task<dns::answer> ask_server(boost::asio::ip::udp::endpoint server, std::string name, std::uint16_t type);
  task<dns::answer> ask_by_stream(boost::asio::ip::udp::endpoint server, std::string name, std::uint16_t type);
  void keep(const std::string& name, std::uint16_t type, const dns::answer& a);

  options options_;
  std::vector<boost::asio::ip::udp::endpoint> system_;
  std::int64_t system_time_ = -1;
  std::map<std::pair<std::string, std::uint16_t>, kept> kept_;
};

// The addresses of a question's name in an answer: those of the name, or of what its CNAMEs lead to.
std::vector<ip_address> addresses_in(const dns::answer& a, std::string_view name);

}  // namespace caged::network
