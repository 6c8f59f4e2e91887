// Takes descriptors from the host through a socket: for backends whose boxes inherit none.
#pragma once

#include <string>

#include "handle.hpp"

namespace caged::agent {

// What a backend hands to its agent. The listening socket lies in a folder that the box does not see.
struct handed_over {
  fd listen, ready, env;
};

// Connects to `path` and receives one message with three descriptors: listening socket, ready pipe, environment.
// Throws bad_argument when anything else comes.
handed_over take_handover(const std::string& path);

}  // namespace caged::agent
