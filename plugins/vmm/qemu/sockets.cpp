#include "sockets.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <caged/error.hpp>
#include <cerrno>
#include <cstring>
#include <thread>

namespace caged::vmm::qemu {
namespace {

// A socket's path may have 107 bytes and a data folder may lie deeper; a descriptor's magic link is short.
struct place {
  owned_fd folder;
  sockaddr_un address{};
};

result<place> place_of(const std::filesystem::path& folder, const std::string& name) {
  place out;
  out.folder.reset(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!out.folder) return errno_error(errno, "open the sandbox's folder");
  out.address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(out.folder.get()) + "/" + name;
  path.copy(out.address.sun_path, sizeof out.address.sun_path - 1);
  return out;
}

}  // namespace

result<owned_fd> listen_at(const std::filesystem::path& folder, const std::string& name) {
  auto at = place_of(folder, name);
  if (!at) return at.error();
  owned_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!s || ::bind(s.get(), reinterpret_cast<const sockaddr*>(&at->address), sizeof at->address) != 0 ||
      ::listen(s.get(), 128) != 0)
    return errno_error(errno, "listen on the socket " + name);
  return s;
}

result<owned_fd> try_connect_at(const std::filesystem::path& folder, const std::string& name) {
  auto at = place_of(folder, name);
  if (!at) return at.error();
  owned_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return errno_error(errno, "make a socket");
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&at->address), sizeof at->address) == 0) return s;
  if (errno == EAGAIN) return owned_fd();
  return errno_error(errno, "connect to " + name);
}

result<owned_fd> connect_at(const std::filesystem::path& folder, const std::string& name,
                            std::chrono::milliseconds deadline) {
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    auto made = try_connect_at(folder, name);
    if (!made) return made;
    if (*made) {
      ::fcntl(made->get(), F_SETFL, ::fcntl(made->get(), F_GETFL) & ~O_NONBLOCK);
      return made;
    }
    if (std::chrono::steady_clock::now() > until)
      return fail(errc::deadline_exceeded, "agent_busy", "the socket " + name + " takes no more connections");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

bool wait_for(int fd, short events, std::chrono::steady_clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd p{fd, events, 0};
    const int rc = ::poll(&p, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (rc > 0) return true;
    if (rc == 0 && left.count() <= 0) return false;
    if (rc < 0 && errno != EINTR) return false;
  }
}

result<void> send_with(int socket, std::string_view text, int descriptor) {
  while (!text.empty()) {
    iovec piece{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
      message.msg_control = room;
      message.msg_controllen = sizeof room;
      cmsghdr* head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    }
    const ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "speak to the virtual machine");
    text.remove_prefix(static_cast<std::size_t>(n));
    descriptor = -1;
  }
  return {};
}

}  // namespace caged::vmm::qemu
