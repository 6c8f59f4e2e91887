// The standalone mode: newline-delimited JSON {type,payload} on a Unix socket.
#pragma once

#include "handle.hpp"
#include "options.hpp"

namespace caged::agent {

// Serves until shutdown or SIGTERM. `signals` is a signalfd. Returns the program's exit status.
int run_standalone(const options& o, fd signals);

}  // namespace caged::agent
