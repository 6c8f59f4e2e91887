// The transport on stdin and stdout: one message per line.
#pragma once

#include <caged/mcp/dialog.hpp>
#include "loop.hpp"
#include "mcp/server/workspace.hpp"

namespace caged::mcp {

// Serves until the end of input or a signal. `signals` is a signalfd of SIGCHLD and what ends the program.
void run_stdio(agent::loop& l, workspace& tools, identity who, agent::fd signals);

}  // namespace caged::mcp
