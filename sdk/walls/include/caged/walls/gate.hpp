// The gate of a network namespace: all its connections and questions for names arrive at sockets that the host keeps.
#pragma once

#include <string>
#include <vector>

#include <caged/walls/unique_fd.hpp>

namespace caged::walls {

// Sockets with what each is for, in the same order: "stream", "dns_stream", "dns_datagram", "inner".
struct namespace_sockets {
  std::vector<unique_fd> fds;
  std::vector<std::string> kinds;
};

// In the calling process's own network namespace, where it has the right to: opens the sockets, redirects all TCP and DNS
// to them, rejects everything else but loopback. Throws step_failure.
namespace_sockets open_gate();

}  // namespace caged::walls
