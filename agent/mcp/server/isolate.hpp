// What surrounds the server: a guardian that outlives it, so that nothing it started does; and, with --isolate, a jail.
#pragma once

#include <string>

#include "mcp/server/options.hpp"

namespace caged::mcp {

// Goes on in a child; what was the process stays behind as its guardian, passes on signals, and kills what the child
// leaves. With --isolate the child is in namespaces of its own, with a root that has the system read-only and the
// workspace at its place. To be called while there is one thread. Returns why it failed, "" in the child.
std::string enter_guarded(server_options& o);
// The last step of the jail, after listening sockets were opened: the network, all capabilities away, Landlock and the
// system call filter. May add to the warnings. "" or why it failed.
std::string close_jail(server_options& o);

}  // namespace caged::mcp
