// Messages on a local socket with at most one descriptor beside the text.
#pragma once

#include "launcher/unique_fd.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace caged::vmm::jail {

// `fd` below 0: text only. False and errno on failure.
inline bool send_with_descriptor(int to, std::string_view text, int fd, int flags = 0) noexcept {
  iovec piece{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  ssize_t n = 0;
  do n = ::sendmsg(to, &message, MSG_NOSIGNAL | flags);
  while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(text.size());
}

// The number of bytes read; 0 at the end, negative and errno on failure. `fd` becomes what came along.
inline ssize_t receive_with_descriptor(int from, char* text, std::size_t size, unique_fd& fd, int flags = 0) noexcept {
  iovec piece{text, size};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  ssize_t n = 0;
  do n = ::recvmsg(from, &message, MSG_CMSG_CLOEXEC | flags);
  while (n < 0 && errno == EINTR);
  if (n <= 0) return n;
  const cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
      c->cmsg_len == CMSG_LEN(sizeof(int))) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(c), sizeof number);
    fd.reset(number);
  }
  return n;
}

}  // namespace caged::vmm::jail
