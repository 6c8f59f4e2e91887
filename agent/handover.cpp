#include "handover.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace caged::agent {

handed_over take_handover(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw bad_argument("", "--handover is longer than a socket's path may be");
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const fd s(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!s || ::connect(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw os_failure(errno, "connect to " + path);
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(3 * sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  ssize_t got = 0;
  do got = ::recvmsg(s.get(), &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) throw os_failure(errno, "receive from " + path);
  const cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (got != 1 || head == nullptr || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(3 * sizeof(int)))
    throw bad_argument("", "--handover: expected one message with three descriptors");
  int numbers[3];
  std::memcpy(numbers, CMSG_DATA(head), sizeof numbers);
  return {fd(numbers[0]), fd(numbers[1]), fd(numbers[2])};
}

}  // namespace caged::agent
