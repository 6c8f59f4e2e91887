#include "launcher/gate.hpp"

#include <sched.h>
#include <sys/socket.h>

#include "launcher/system.hpp"

namespace caged::vmm::jail {
namespace {

namespace_sockets inner_sockets(const gate_spec& spec) {
  namespace_sockets out;
  for (unsigned i = 0; i < spec.inner_count; ++i) {
    const int s = ::socket(spec.inner_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    out.fds.emplace_back(must(s, "netns", "make a socket"));
    out.kinds.emplace_back("inner");
  }
  return out;
}

}  // namespace

namespace_sockets serve_gate(const gate_spec& spec, int pidfd) {
  // An ordinary user has rights over the network only as root of the box's user namespace, which he owns. The host's
  // root stays outside of it: inside, the box's root would be our equal.
  const int namespaces = spec.join_user ? CLONE_NEWUSER | CLONE_NEWNET : CLONE_NEWNET;
  must(::setns(pidfd, namespaces), "netns", "enter the box's network namespace");
  return spec.inner_count != 0 ? inner_sockets(spec) : open_gate();
}

}  // namespace caged::vmm::jail
