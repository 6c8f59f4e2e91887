// The gate: sockets of the host inside a box's network. Runs as root and as an ordinary user.
#include <arpa/inet.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cstring>
#include <thread>

#include "support.hpp"

namespace caged::vmm::jail::testing {
namespace {

// Answers each connection with the address it was meant for, and each datagram with its own text, until it is let go.
class host_side {
 public:
  explicit host_side(box_gate gate) : gate_(std::move(gate)), thread_([this] { run(); }) {}
  ~host_side() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run() {
    std::vector<pollfd> all;
    for (const auto* group : {&gate_.streams, &gate_.dns_streams, &gate_.dns_datagrams})
      for (const auto& fd : *group) all.push_back({fd.get(), POLLIN, 0});
    const std::size_t streams = gate_.streams.size() + gate_.dns_streams.size();
    while (!stop_) {
      if (::poll(all.data(), all.size(), 20) <= 0) continue;
      for (std::size_t i = 0; i < all.size(); ++i) {
        if ((all[i].revents & POLLIN) == 0) continue;
        if (i < streams)
          answer_stream(all[i].fd);
        else
          answer_datagram(all[i].fd);
      }
    }
  }
  static void answer_stream(int listening) {
    unique_fd s(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
    if (!s) return;
    sockaddr_storage target{};
    socklen_t size = sizeof target;
    int domain = 0;
    socklen_t domain_size = sizeof domain;
    ::getsockopt(s.get(), SOL_SOCKET, SO_DOMAIN, &domain, &domain_size);
    ::getsockopt(s.get(), domain == AF_INET ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST, &target, &size);
    char text[INET6_ADDRSTRLEN] = {};
    std::uint16_t port = 0;
    if (target.ss_family == AF_INET) {
      const auto* v4 = reinterpret_cast<sockaddr_in*>(&target);
      ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
      port = ntohs(v4->sin_port);
    } else {
      const auto* v6 = reinterpret_cast<sockaddr_in6*>(&target);
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      port = ntohs(v6->sin6_port);
    }
    const std::string line = std::string(text) + " " + std::to_string(port);
    (void)!::write(s.get(), line.data(), line.size());
  }
  static void answer_datagram(int bound) {
    char text[512];
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t n = ::recvfrom(bound, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (n > 0) ::sendto(bound, text, static_cast<std::size_t>(n), 0, reinterpret_cast<sockaddr*>(&from), size);
  }

  box_gate gate_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// A program for the box: talks to ADDRESS PORT over tcp or udp and prints what comes back, or the error's name.
std::string talk(const std::string& protocol, const std::string& address, int port) {
  return "python3 - <<'END'\nimport socket, errno\n"
         "f = socket.AF_INET6 if ':' in '" +
         address +
         "' else socket.AF_INET\n"
         "s = socket.socket(f, socket.SOCK_STREAM if '" +
         protocol +
         "' == 'tcp' else socket.SOCK_DGRAM)\n"
         "s.settimeout(10)\n"
         "try:\n"
         "  s.connect(('" +
         address + "', " + std::to_string(port) +
         "))\n"
         "  if s.type == socket.SOCK_DGRAM: s.send(b'hello')\n"
         "  print(s.recv(100).decode(), end='')\n"
         "except OSError as e: print(errno.errorcode.get(e.errno, repr(e)), end='')\n"
         "END\n";
}

class jail_gate : public shared_jail {
 protected:
  static box_gate open_gate(const std::string& id) {
    auto gate = host_->await(jail_->extension<vmm_network>()->open_gate(id));
    if (!gate) throw std::runtime_error(describe(gate.error()));
    return std::move(*gate);
  }
};

TEST_F(jail_gate, is_refused_for_an_unknown_box) {
  auto* network = jail_->extension<vmm_network>();
  ASSERT_NE(network, nullptr);
  EXPECT_EQ(host_->await(network->open_gate("nobody")).error().code, errc::not_found);
  EXPECT_EQ(host_->await(network->inner_sockets("nobody", AF_INET, 1)).error().code, errc::not_found);
  make(small_box("few"));
  EXPECT_EQ(host_->await(network->inner_sockets("few", AF_INET, 17)).error().code, errc::invalid_argument);
}

TEST_F(jail_gate, leads_every_connection_to_the_host_and_nothing_past_it) {
  make(small_box("gated"));
  EXPECT_EQ(output("gated", talk("tcp", "198.51.100.7", 443)), "ENETUNREACH");
  host_side host(open_gate("gated"));
  EXPECT_EQ(output("gated", talk("tcp", "198.51.100.7", 443)), "198.51.100.7 443");
  EXPECT_EQ(output("gated", talk("tcp", "2001:db8::7", 8443)), "2001:db8::7 8443");
  EXPECT_EQ(output("gated", talk("tcp", "::ffff:198.51.100.8", 80)), "198.51.100.8 80");
  EXPECT_EQ(output("gated", talk("udp", "198.51.100.53", 53)), "hello");
  EXPECT_EQ(output("gated", talk("udp", "2001:db8::53", 53)), "hello");
  EXPECT_EQ(output("gated", talk("udp", "127.0.0.1", 53)), "hello");
  EXPECT_EQ(output("gated", talk("tcp", "198.51.100.53", 53)), "198.51.100.53 53");
  EXPECT_NE(output("gated", talk("udp", "198.51.100.7", 443)), "hello");
  EXPECT_NE(output("gated", talk("udp", "2001:db8::7", 443)), "hello");
  // What is inside stays inside.
  EXPECT_EQ(output("gated", talk("tcp", "127.0.0.1", 9)), "ECONNREFUSED");
  EXPECT_EQ(output("gated", talk("tcp", "::1", 9)), "ECONNREFUSED");
}

TEST_F(jail_gate, opens_again_after_its_sockets_are_gone) {
  make(small_box("again"));
  { host_side first(open_gate("again")); }
  EXPECT_EQ(output("again", talk("tcp", "198.51.100.7", 443)), "ECONNREFUSED");
  host_side second(open_gate("again"));
  EXPECT_EQ(output("again", talk("tcp", "198.51.100.7", 443)), "198.51.100.7 443");
  EXPECT_EQ(output("again", talk("udp", "198.51.100.7", 53)), "hello");
}

TEST_F(jail_gate, gives_sockets_that_reach_servers_inside) {
  make(small_box("inner"));
  output("inner", "cd / && (python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 &)");
  auto sockets = host_->await(jail_->extension<vmm_network>()->inner_sockets("inner", AF_INET, 2));
  ASSERT_TRUE(sockets) << describe(sockets.error());
  ASSERT_EQ(sockets->size(), 2u);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  bool reached = false;
  while (!reached && std::chrono::steady_clock::now() < until) {
    auto one = host_->await(jail_->extension<vmm_network>()->inner_sockets("inner", AF_INET, 1));
    ASSERT_TRUE(one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(8000);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    reached = ::connect(one->front().get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (!reached && errno == EINPROGRESS) {
      pollfd p{one->front().get(), POLLOUT, 0};
      int error = 0;
      socklen_t size = sizeof error;
      reached = ::poll(&p, 1, 5000) == 1 && ::getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    }
  }
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace caged::vmm::jail::testing
