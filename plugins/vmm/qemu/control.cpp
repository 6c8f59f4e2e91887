#include "control.hpp"

#include "sockets.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <cerrno>

namespace caged::vmm::qemu {

using clock = std::chrono::steady_clock;

result<control> control::open(const std::filesystem::path& folder) {
  auto socket = connect_at(folder, "control.sock", std::chrono::seconds(5));
  if (!socket) return socket.error();
  return control(std::move(*socket));
}

result<control::told> control::next(clock::time_point until) {
  for (;;) {
    wire::frame f;
    const auto status = decoder_.next(f);
    if (status == wire::decoder::status::broken)
      return fail(errc::unavailable, "sandbox_lost", "the sandbox's virtual machine broke the rules of its port");
    if (status == wire::decoder::status::ready) {
      if (f.kind == wire::frame_kind::end) return told{true, nullptr};
      std::string text;
      if (!joiner_.add(f, text)) continue;
      auto value = parse_json(text);
      if (!value || !value->is_object()) continue;
      return told{false, std::move(*value)};
    }
    if (!wait_for(socket_.get(), POLLIN, until))
      return fail(errc::deadline_exceeded, "agent_timeout", "the agent in the virtual machine did not answer in time",
                  "Try again; the machine may be overloaded.");
    const auto room = decoder_.prepare();
    const ssize_t n = ::recv(socket_.get(), room.data(), room.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(errc::unavailable, "sandbox_lost", "the sandbox's virtual machine has ended");
    decoder_.commit(static_cast<std::size_t>(n));
  }
}

result<void> control::wait_ready(std::chrono::milliseconds deadline) {
  const auto until = clock::now() + deadline;
  for (;;) {
    auto one = next(until);
    if (!one) return one.error();
    if (one->held) return {};
  }
}

result<json> control::go(const json& word, std::chrono::milliseconds deadline) {
  std::string text;
  wire::append_message(text, 0, to_text({{"go", word}}));
  if (auto sent = send_with(socket_.get(), text, -1); !sent) return sent.error();
  const auto until = clock::now() + deadline;
  for (;;) {
    auto one = next(until);
    if (!one) return one.error();
    if (one->message.contains("going")) return one->message["going"];
    if (const auto it = one->message.find("failed"); it != one->message.end())
      return fail(errc::internal, "agent_failed", "the agent in the virtual machine refuses: " + it->value("message", ""),
                  "Look at the host's log.");
  }
}

result<void> control::hold(std::chrono::milliseconds deadline) {
  std::string text;
  wire::append_frame(text, wire::frame_kind::end, 0, {});
  if (auto sent = send_with(socket_.get(), text, -1); !sent) return sent;
  return wait_ready(deadline);
}

}  // namespace caged::vmm::qemu
