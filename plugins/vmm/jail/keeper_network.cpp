// Sockets inside a box's network namespace, for the host's egress plane and previews.
#include "keeper.hpp"
#include "launch.hpp"

namespace caged::vmm::jail {

result<box_gate> keeper::open_gate(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  gate_spec spec;
  spec.join_user = !root_;
  auto made = ask_gate(options_.launcher, spec, (*b)->pidfd.get());
  if (!made) return made.error();
  box_gate out;
  for (std::size_t i = 0; i < made->fds.size(); ++i) {
    owned_fd fd(made->fds[i].release());
    if (made->kinds[i] == "stream")
      out.streams.push_back(std::move(fd));
    else if (made->kinds[i] == "dns_stream")
      out.dns_streams.push_back(std::move(fd));
    else if (made->kinds[i] == "dns_datagram")
      out.dns_datagrams.push_back(std::move(fd));
  }
  return out;
}

result<std::vector<owned_fd>> keeper::inner_sockets(const std::string& id, int family, unsigned count) {
  auto b = find(id);
  if (!b) return b.error();
  if (count == 0 || count > inner_most)
    return fail(errc::invalid_argument, "bad_count",
                "asked for " + std::to_string(count) + " sockets, expected 1 to 16");
  gate_spec spec;
  spec.join_user = !root_;
  spec.inner_count = count;
  spec.inner_family = family;
  auto made = ask_gate(options_.launcher, spec, (*b)->pidfd.get());
  if (!made) return made.error();
  std::vector<owned_fd> out;
  for (auto& fd : made->fds) out.emplace_back(fd.release());
  return out;
}

}  // namespace caged::vmm::jail
