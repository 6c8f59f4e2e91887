// Optional interface of a vmm backend: sockets inside a box's network namespace, through which the host is its network.
#pragma once

#include <caged/owned_fd.hpp>
#include <caged/task.hpp>
#include <string>
#include <vector>

namespace caged {

// Sockets that live in the box's namespace and belong to the host. All are non-blocking and close-on-exec; one per
// address family that the box has.
struct box_gate {
  std::vector<owned_fd> streams;  // listening; every TCP connection out of the box. SO_ORIGINAL_DST: its target
  std::vector<owned_fd> dns_streams;  // listening; TCP to port 53, wherever it was sent
  std::vector<owned_fd> dns_datagrams;  // bound; UDP to port 53, wherever it was sent
};

// Found by plugin::extension<vmm_network>(). A box whose gate was never opened has loopback and nothing else; after
// open_gate() everything that is neither loopback, TCP nor DNS is rejected inside the namespace, and nothing in the box
// may change that. An unknown id is not_found.
class vmm_network {
 public:
  static constexpr std::string_view interface_name = "caged.vmm_network.v1";
  virtual ~vmm_network() = default;

  // Opens the gate, in place of an earlier one: also after a restart of the host, whose sockets died with it.
  virtual task<box_gate> open_gate(std::string id) = 0;
  // Unconnected TCP sockets (IPv4 or IPv6, by `family`) that reach what listens inside, loopback too. At most 16.
  virtual task<std::vector<owned_fd>> inner_sockets(std::string id, int family, unsigned count) = 0;
};

}  // namespace caged
