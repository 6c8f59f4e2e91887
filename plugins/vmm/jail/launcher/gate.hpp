// Works inside a box's network namespace: the gate that all its connections arrive at, and sockets that reach it.
#pragma once

#include <string>
#include <vector>

#include "launcher/spec.hpp"
#include "launcher/unique_fd.hpp"

namespace caged::vmm::jail {

// Sockets with what each is for, in the same order: "stream", "dns_stream", "dns_datagram", "inner".
struct namespace_sockets {
  std::vector<unique_fd> fds;
  std::vector<std::string> kinds;
};

// Joins the box's namespaces and does what is asked. The calling process is single-threaded and ends afterwards.
namespace_sockets serve_gate(const gate_spec& spec, int pidfd);

}  // namespace caged::vmm::jail
