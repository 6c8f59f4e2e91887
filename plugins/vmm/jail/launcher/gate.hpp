// Works inside a box's network namespace: the gate that all its connections arrive at, and sockets that reach it.
#pragma once

#include "launcher/spec.hpp"
#include "launcher/unique_fd.hpp"

#include <caged/walls/gate.hpp>

namespace caged::vmm::jail {

// Joins the box's namespaces and does what is asked. The calling process is single-threaded and ends afterwards.
namespace_sockets serve_gate(const gate_spec& spec, int pidfd);

}  // namespace caged::vmm::jail
