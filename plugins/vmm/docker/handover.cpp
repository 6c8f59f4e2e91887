#include "handover.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <caged/json.hpp>
#include <cerrno>
#include <cstring>

namespace caged::vmm::docker {
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

using clock = std::chrono::steady_clock;

// True when readable, false when `alive` should be asked or the time is over.
bool wait_readable(int fd, std::chrono::milliseconds step) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, static_cast<int>(step.count())) == 1;
}

result<void> await(int fd, clock::time_point until, const std::function<result<void>()>& alive) {
  while (!wait_readable(fd, std::chrono::milliseconds(200))) {
    if (auto ok = alive(); !ok) return ok;
    if (clock::now() > until)
      return fail(errc::deadline_exceeded, "agent_timeout", "the agent in the box did not become ready in time",
                  "Try again; the machine may be overloaded.");
  }
  return {};
}

result<void> send_three(int to, const int (&numbers)[3]) {
  char byte = 'c';
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof numbers)]{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof numbers);
  std::memcpy(CMSG_DATA(head), numbers, sizeof numbers);
  if (::sendmsg(to, &message, MSG_NOSIGNAL) != 1) return errno_error(errno, "hand descriptors to the agent");
  return {};
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

result<owned_fd> connect_at(const std::filesystem::path& folder, const std::string& name) {
  auto at = place_of(folder, name);
  if (!at) return at.error();
  owned_fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return errno_error(errno, "make a socket");
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&at->address), sizeof at->address) == 0) return s;
  if (errno == EAGAIN) return owned_fd();
  return errno_error(errno, "connect to the agent");
}

result<owned_fd> environment_file(const std::map<std::string, std::string>& env) {
  owned_fd file(::memfd_create("caged-env", MFD_CLOEXEC));
  if (!file) return errno_error(errno, "make a memory file");
  const std::string text = to_text(json(env));
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return errno_error(errno, "write the environment");
  return file;
}

result<pid_t> hand_over(int start, int listen, int env, std::chrono::milliseconds deadline,
                        const std::function<result<void>()>& alive) {
  const auto until = clock::now() + deadline;
  if (auto came = await(start, until, alive); !came) return came.error();
  const owned_fd peer(::accept4(start, nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return errno_error(errno, "accept the agent");
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.pid <= 1)
    return errno_error(errno != 0 ? errno : ESRCH, "ask who the agent is");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const owned_fd ready(ends[0]);
  owned_fd write_end(ends[1]);
  const int numbers[3] = {listen, write_end.get(), env};
  if (auto sent = send_three(peer.get(), numbers); !sent) return sent.error();
  write_end.reset();
  if (auto came = await(ready.get(), until, alive); !came) return came.error();
  char byte = 0;
  if (::read(ready.get(), &byte, 1) != 1)
    return fail(errc::internal, "agent_failed", "the agent in the box ended before it was ready",
                "Look at the host's log.");
  return who.pid;
}

owned_fd open_process(pid_t pid) {
  if (pid <= 1) return {};
  return owned_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace caged::vmm::docker
