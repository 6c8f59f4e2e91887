#include <caged/walls/netlink.hpp>

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

#include <caged/walls/unique_fd.hpp>

namespace caged::walls {

void netlink_batch::pad() { data_.resize(NLMSG_ALIGN(data_.size()), '\0'); }

void netlink_batch::begin(std::uint16_t type, std::uint16_t flags, const void* header, std::size_t header_size) {
  pad();
  start_ = data_.size();
  nlmsghdr head{};
  head.nlmsg_type = type;
  head.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  head.nlmsg_seq = ++sequence_;
  data_.append(reinterpret_cast<const char*>(&head), sizeof head);
  data_.append(static_cast<const char*>(header), header_size);
  pad();
  if ((flags & NLM_F_ACK) != 0) ++asked_;
}

void netlink_batch::end() {
  pad();
  const auto length = static_cast<std::uint32_t>(data_.size() - start_);
  std::memcpy(data_.data() + start_, &length, sizeof length);
}

void netlink_batch::bytes(std::uint16_t type, const void* data, std::size_t size) {
  pad();
  const nlattr head{static_cast<std::uint16_t>(NLA_HDRLEN + size), type};
  data_.append(reinterpret_cast<const char*>(&head), sizeof head);
  data_.append(static_cast<const char*>(data), size);
  pad();
}

void netlink_batch::text(std::uint16_t type, const char* value) { bytes(type, value, std::strlen(value) + 1); }

void netlink_batch::big32(std::uint16_t type, std::uint32_t value) {
  const std::uint32_t swapped = htonl(value);
  bytes(type, &swapped, sizeof swapped);
}

void netlink_batch::host32(std::uint16_t type, std::uint32_t value) { bytes(type, &value, sizeof value); }

std::size_t netlink_batch::open_nest(std::uint16_t type) {
  pad();
  const std::size_t at = data_.size();
  const nlattr head{0, static_cast<std::uint16_t>(type | NLA_F_NESTED)};
  data_.append(reinterpret_cast<const char*>(&head), sizeof head);
  return at;
}

void netlink_batch::close_nest(std::size_t nest) {
  pad();
  const auto length = static_cast<std::uint16_t>(data_.size() - nest);
  std::memcpy(data_.data() + nest, &length, sizeof length);
}

int exchange(int protocol, const netlink_batch& batch) {
  unique_fd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!s) return errno;
  const timeval patience{5, 0};
  ::setsockopt(s.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(s.get(), batch.data().data(), batch.data().size(), 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    return errno;
  }
  for (unsigned seen = 0; seen < batch.asked();) {
    alignas(nlmsghdr) char buffer[16384];
    const ssize_t n = ::recv(s.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    auto rest = static_cast<unsigned>(n);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(head, rest); head = NLMSG_NEXT(head, rest)) {
      if (head->nlmsg_type != NLMSG_ERROR) continue;
      ++seen;
      const int code = static_cast<const nlmsgerr*>(NLMSG_DATA(head))->error;
      if (code != 0) return -code;
    }
  }
  return 0;
}

}  // namespace caged::walls
