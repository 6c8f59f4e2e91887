// How caged-mcp-server starts, whichever way it is spoken to.
#pragma once

#include <string>

#include <caged/mcp/dialog.hpp>
#include "handle.hpp"

namespace caged::mcp {

// Writes to stderr; the exit status of a refused start.
int complain(const std::string& message);
// 0, 1 and 2 must be something, or the next file opened would be taken for the client.
void hold_standard_descriptors();
// A signalfd of SIGCHLD and of what asks to end.
agent::fd block_signals();
identity server_identity();
// Replaces this program by the one beside it that listens. Returns only when that failed: why.
std::string become_listener(char** argv);

}  // namespace caged::mcp
