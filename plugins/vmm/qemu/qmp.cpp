#include "qmp.hpp"

#include "sockets.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <cerrno>
#include <cstring>

namespace caged::vmm::qemu {
namespace {

// QEMU is not trusted: what it says is bounded.
constexpr std::size_t longest_line = 1u << 20;

}  // namespace

result<qmp> qmp::open(const std::filesystem::path& folder, std::chrono::milliseconds deadline) {
  auto socket = connect_at(folder, "qmp.sock", deadline);
  if (!socket) return socket.error();
  qmp made(std::move(*socket), deadline);
  if (auto greeting = made.line(); !greeting) return greeting.error();
  if (auto agreed = made.call("qmp_capabilities"); !agreed) return agreed.error();
  return made;
}

result<json> qmp::line() {
  const auto until = std::chrono::steady_clock::now() + deadline_;
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      auto value = parse_json(buffer_.substr(0, end));
      buffer_.erase(0, end + 1);
      return value;
    }
    if (buffer_.size() > longest_line) return fail(errc::internal, "qemu_broken", "QEMU's monitor answers without end");
    if (!wait_for(socket_.get(), POLLIN, until))
      return fail(errc::deadline_exceeded, "qemu_timeout", "QEMU's monitor does not answer",
                  "Try again; the machine may be overloaded.");
    char piece[4096];
    const ssize_t n = ::recv(socket_.get(), piece, sizeof piece, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(errc::unavailable, "sandbox_lost", "the sandbox's virtual machine has ended");
    buffer_.append(piece, static_cast<std::size_t>(n));
  }
}

result<json> qmp::call(const char* command, json arguments) { return call_with(-1, command, std::move(arguments)); }

result<json> qmp::call_with(int descriptor, const char* command, json arguments) {
  const std::string text = to_text({{"execute", command}, {"arguments", std::move(arguments)}}) + "\n";
  if (auto sent = send_with(socket_.get(), text, descriptor); !sent) return sent.error();
  for (;;) {
    auto answer = line();
    if (!answer) return answer;
    if (const auto it = answer->find("return"); it != answer->end()) return *it;
    if (const auto it = answer->find("error"); it != answer->end())
      return fail(errc::internal, "qemu_refused", std::string("QEMU refuses ") + command + ": " + it->value("desc", ""),
                  "Look at the host's log.");
  }
}

}  // namespace caged::vmm::qemu
