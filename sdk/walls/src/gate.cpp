#include <caged/walls/gate.hpp>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <cstring>

#include <caged/walls/netlink.hpp>
#include <caged/walls/system.hpp>

namespace caged::walls {
namespace {

// sockets ---------------------------------------------------------------------------------------------------------

constexpr int backlog = 4096;

union any_address {
  sockaddr base;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

socklen_t loopback_address(int family, std::uint16_t port, any_address& out) {
  std::memset(&out, 0, sizeof out);
  if (family == AF_INET) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    out.v4.sin_port = htons(port);
    return sizeof out.v4;
  }
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_addr = in6addr_loopback;
  out.v6.sin6_port = htons(port);
  return sizeof out.v6;
}

bool has_v6() {
  unique_fd s(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  any_address address;
  const socklen_t size = loopback_address(AF_INET6, 0, address);
  return s && ::bind(s.get(), &address.base, size) == 0;
}

// A socket on loopback at `port` (0: any free one); the descriptor is empty when the port is taken.
unique_fd bind_loopback(int family, int type, std::uint16_t port) {
  unique_fd s(must(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "netns", "make a socket"));
  any_address address;
  const socklen_t size = loopback_address(family, port, address);
  if (::bind(s.get(), &address.base, size) != 0) {
    if (errno == EADDRINUSE && port != 0) return {};
    fail_step("netns", "bind a socket");
  }
  if (type == SOCK_STREAM) must(::listen(s.get(), backlog), "netns", "listen");
  return s;
}

std::uint16_t port_of(int fd) {
  any_address address;
  socklen_t size = sizeof address;
  must(::getsockname(fd, &address.base, &size), "netns", "read a socket's port");
  return ntohs(address.base.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

struct wanted_socket {
  int family, type;
  const char* kind;
};

// All sockets of the list at one port, so that one rule leads to all of them. Processes of the box may hold ports.
std::uint16_t bind_together(const std::vector<wanted_socket>& list, namespace_sockets& out) {
  for (int attempt = 0; attempt < 64; ++attempt) {
    std::vector<unique_fd> made;
    std::uint16_t port = 0;
    for (const auto& w : list) {
      unique_fd s = bind_loopback(w.family, w.type, port);
      if (!s) break;
      if (port == 0) port = port_of(s.get());
      made.push_back(std::move(s));
    }
    if (made.size() != list.size()) continue;
    for (std::size_t i = 0; i < list.size(); ++i) {
      out.fds.push_back(std::move(made[i]));
      out.kinds.emplace_back(list[i].kind);
    }
    return port;
  }
  fail_step("netns", "find a free port", EADDRINUSE);
}

// route -----------------------------------------------------------------------------------------------------------

// A default route over loopback lets connect() begin; the rules below lead the connection to us. Without a preferred
// source the handshake succeeds and the data is dropped as coming from nowhere.
void add_default_route(unsigned char family) {
  netlink_batch batch;
  rtmsg route{};
  route.rtm_family = family;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  route.rtm_type = RTN_UNICAST;
  batch.begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
  batch.host32(RTA_OIF, ::if_nametoindex("lo"));
  any_address source;
  loopback_address(family, 0, source);
  if (family == AF_INET)
    batch.bytes(RTA_PREFSRC, &source.v4.sin_addr, sizeof source.v4.sin_addr);
  else
    batch.bytes(RTA_PREFSRC, &source.v6.sin6_addr, sizeof source.v6.sin6_addr);
  batch.end();
  if (const int err = exchange(NETLINK_ROUTE, batch); err != 0) fail_step("netns", "add the default route", err);
}

// rules -----------------------------------------------------------------------------------------------------------

constexpr const char* table_name = "caged";
constexpr std::uint16_t verb(int message) { return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

// One table of rules, sent as a whole: the kernel takes all of it or nothing.
class ruleset {
 public:
  ruleset() {
    bracket(NFNL_MSG_BATCH_BEGIN);
    table(NFT_MSG_NEWTABLE);  // so that there is one to delete
    table(NFT_MSG_DELTABLE);
    table(NFT_MSG_NEWTABLE);
  }

  void chain(const char* name, const char* type, std::int32_t priority) {
    begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    batch_.text(NFTA_CHAIN_TABLE, table_name);
    batch_.text(NFTA_CHAIN_NAME, name);
    const auto hook = batch_.open_nest(NFTA_CHAIN_HOOK);
    batch_.big32(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    batch_.big32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(priority));
    batch_.close_nest(hook);
    batch_.text(NFTA_CHAIN_TYPE, type);
    batch_.end();
  }

  void begin_rule(const char* chain) {
    begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    batch_.text(NFTA_RULE_TABLE, table_name);
    batch_.text(NFTA_RULE_CHAIN, chain);
    rule_ = batch_.open_nest(NFTA_RULE_EXPRESSIONS);
  }
  void end_rule() {
    batch_.close_nest(rule_);
    batch_.end();
  }

  void meta_is(std::uint32_t key, std::uint8_t value) {
    open("meta");
    batch_.big32(NFTA_META_DREG, NFT_REG_1);
    batch_.big32(NFTA_META_KEY, key);
    close();
    compare(&value, 1);
  }
  void payload_is(std::uint32_t base, std::uint32_t offset, const void* value, std::uint32_t size) {
    open("payload");
    batch_.big32(NFTA_PAYLOAD_DREG, NFT_REG_1);
    batch_.big32(NFTA_PAYLOAD_BASE, base);
    batch_.big32(NFTA_PAYLOAD_OFFSET, offset);
    batch_.big32(NFTA_PAYLOAD_LEN, size);
    close();
    compare(value, size);
  }
  void redirect(std::uint16_t port) {
    const std::uint16_t wire = htons(port);
    open("immediate");
    batch_.big32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
    const auto data = batch_.open_nest(NFTA_IMMEDIATE_DATA);
    batch_.bytes(NFTA_DATA_VALUE, &wire, sizeof wire);
    batch_.close_nest(data);
    close();
    open("redir");
    batch_.big32(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
    close();
  }
  void accept() {
    open("immediate");
    batch_.big32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    const auto data = batch_.open_nest(NFTA_IMMEDIATE_DATA);
    const auto verdict = batch_.open_nest(NFTA_DATA_VERDICT);
    batch_.big32(NFTA_VERDICT_CODE, NF_ACCEPT);
    batch_.close_nest(verdict);
    batch_.close_nest(data);
    close();
  }
  // Says "prohibited" at once, so that programs fall back (QUIC to TCP) instead of waiting.
  void reject() {
    open("reject");
    batch_.big32(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    const std::uint8_t code = NFT_REJECT_ICMPX_ADMIN_PROHIBITED;
    batch_.bytes(NFTA_REJECT_ICMP_CODE, &code, sizeof code);
    close();
  }

  int commit() {
    bracket(NFNL_MSG_BATCH_END);
    return exchange(NETLINK_NETFILTER, batch_);
  }

 private:
  void bracket(std::uint16_t type) {
    nfgenmsg header{AF_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)};
    batch_.begin(type, 0, &header, sizeof header);
    batch_.end();
  }
  void begin(int message, std::uint16_t flags) {
    nfgenmsg header{NFPROTO_INET, NFNETLINK_V0, 0};
    batch_.begin(verb(message), static_cast<std::uint16_t>(flags | NLM_F_ACK), &header, sizeof header);
  }
  void table(int message) {
    begin(message, message == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
    batch_.text(NFTA_TABLE_NAME, table_name);
    batch_.end();
  }
  void open(const char* expression) {
    element_ = batch_.open_nest(NFTA_LIST_ELEM);
    batch_.text(NFTA_EXPR_NAME, expression);
    data_ = batch_.open_nest(NFTA_EXPR_DATA);
  }
  void close() {
    batch_.close_nest(data_);
    batch_.close_nest(element_);
  }
  void compare(const void* value, std::size_t size) {
    open("cmp");
    batch_.big32(NFTA_CMP_SREG, NFT_REG_1);
    batch_.big32(NFTA_CMP_OP, NFT_CMP_EQ);
    const auto data = batch_.open_nest(NFTA_CMP_DATA);
    batch_.bytes(NFTA_DATA_VALUE, value, size);
    batch_.close_nest(data);
    close();
  }

  netlink_batch batch_;
  std::size_t rule_ = 0, element_ = 0, data_ = 0;
};

// 127.0.0.0/8 and ::1 stay inside: servers of the box that its own programs talk to.
void accept_loopback(ruleset& rules, const char* chain) {
  const std::uint8_t first = 127;
  rules.begin_rule(chain);
  rules.meta_is(NFT_META_NFPROTO, NFPROTO_IPV4);
  rules.payload_is(NFT_PAYLOAD_NETWORK_HEADER, 16, &first, 1);  // daddr, first byte
  rules.accept();
  rules.end_rule();
  rules.begin_rule(chain);
  rules.meta_is(NFT_META_NFPROTO, NFPROTO_IPV6);
  rules.payload_is(NFT_PAYLOAD_NETWORK_HEADER, 24, &in6addr_loopback, sizeof in6addr_loopback);  // daddr
  rules.accept();
  rules.end_rule();
}

void redirect_dns(ruleset& rules, std::uint8_t protocol, std::uint16_t port) {
  const std::uint16_t dns = htons(53);
  rules.begin_rule("out");
  rules.meta_is(NFT_META_L4PROTO, protocol);
  rules.payload_is(NFT_PAYLOAD_TRANSPORT_HEADER, 2, &dns, sizeof dns);  // destination port
  rules.redirect(port);
  rules.end_rule();
}

void install_rules(std::uint16_t streams, std::uint16_t dns) {
  ruleset rules;
  rules.chain("out", "nat", -100);
  redirect_dns(rules, IPPROTO_UDP, dns);
  redirect_dns(rules, IPPROTO_TCP, dns);
  accept_loopback(rules, "out");
  rules.begin_rule("out");
  rules.meta_is(NFT_META_L4PROTO, IPPROTO_TCP);
  rules.redirect(streams);
  rules.end_rule();
  // After the redirection above, what we serve goes to loopback; nothing else has anywhere to go.
  rules.chain("wall", "filter", 0);
  accept_loopback(rules, "wall");
  rules.begin_rule("wall");
  rules.reject();
  rules.end_rule();
  if (const int err = rules.commit(); err != 0) fail_step("netns", "install the redirection", err);
}

// ---------------------------------------------------------------------------------------------------------------------

}  // namespace

namespace_sockets open_gate() {
  namespace_sockets out;
  const bool v6 = has_v6();
  std::vector<wanted_socket> streams{{AF_INET, SOCK_STREAM, "stream"}};
  std::vector<wanted_socket> dns{{AF_INET, SOCK_DGRAM, "dns_datagram"}, {AF_INET, SOCK_STREAM, "dns_stream"}};
  if (v6) {
    streams.push_back({AF_INET6, SOCK_STREAM, "stream"});
    dns.push_back({AF_INET6, SOCK_DGRAM, "dns_datagram"});
    dns.push_back({AF_INET6, SOCK_STREAM, "dns_stream"});
  }
  const std::uint16_t stream_port = bind_together(streams, out);
  const std::uint16_t dns_port = bind_together(dns, out);
  // Rules before the route: while there is no route nothing leaves, and with it everything is redirected.
  install_rules(stream_port, dns_port);
  add_default_route(AF_INET);
  if (v6) add_default_route(AF_INET6);
  return out;
}

}  // namespace caged::walls
