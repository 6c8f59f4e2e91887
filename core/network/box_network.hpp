// One sandbox's side of the egress plane: its gate's sockets, its rules, its live connections. Private to the room.
#pragma once

#include <boost/asio/ip/udp.hpp>
#include <list>
#include <set>
#include <unordered_map>

#include "core/network/egress.hpp"
#include "core/network/sniff.hpp"

namespace caged::network {

// One TCP connection out of the box.
struct flow {
  flow(asio::any_io_executor e, tcp::socket from) : client(std::move(from)), upstream(e), timer(e) {}
  tcp::socket client, upstream;
  asio::steady_timer timer;  // deadlines of single steps
  destination to;
  std::string rule;          // that allowed it
  std::uint64_t out = 0, in = 0;  // from the sandbox, to the sandbox
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  bool announced = false;    // its verdict was allow and was told
  std::string cut;           // the rule that ended it from outside; "" = none
  std::string failure;       // why it could not be served, for people
  enum class upgrading : std::uint8_t { unset = 0, wanted, agreed, refused } upgrade = upgrading::unset;
  std::string head;          // read from the sandbox, not yet sent on
};

// On the plane's executor. Outlives its scope's work: finish() joins it.
class box_network : public std::enable_shared_from_this<box_network> {
 public:
  box_network(egress& plane, std::string id, rules r);

  result<void> start(box_gate gate);
  void change(rules r);
  void stop();
  asio::awaitable<void> join() { return work_.join(); }
  json status() const;

 private:
  // box_network.cpp: connections
  std::shared_ptr<flow> enter(tcp::socket from);
  void leave(const std::shared_ptr<flow>& f);
  asio::awaitable<void> accept_loop(std::shared_ptr<tcp::acceptor> from);
  asio::awaitable<void> serve(std::shared_ptr<flow> f);
  asio::awaitable<sniffed> first_bytes(std::shared_ptr<flow> f, std::chrono::steady_clock::duration quiet);
  asio::awaitable<bool> read_more(std::shared_ptr<flow> f, std::chrono::steady_clock::time_point until);
  asio::awaitable<void> serve_internal(std::shared_ptr<flow> f, sniffed seen);
  asio::awaitable<void> refuse(std::shared_ptr<flow> f, verdict why);
  void cut(flow& f, std::string rule);
  bool within_limits(flow& f);

  // judge.cpp: verdicts
  task<verdict> judge(std::shared_ptr<flow> f, sniffed seen);
  void describe_destination(flow& f, const sniffed& seen);
  std::string best_name(const flow& f) const;

  // relay.cpp: moving bytes
  asio::awaitable<bool> dial(std::shared_ptr<flow> f);
  asio::awaitable<bool> dial_proxy(std::shared_ptr<flow> f);
  asio::awaitable<bool> connect(std::shared_ptr<flow> f, tcp::endpoint to);
  asio::awaitable<void> relay(std::shared_ptr<flow> f);
  asio::awaitable<void> upwards(std::shared_ptr<flow> f);
  asio::awaitable<void> requests(std::shared_ptr<flow> f);
  asio::awaitable<void> downwards(std::shared_ptr<flow> f);
  asio::awaitable<bool> await_upgrade(std::shared_ptr<flow> f);
  void look_for_upgrade(flow& f);
  direction towards(const std::shared_ptr<flow>& f, bool up);

  // names.cpp: DNS
  asio::awaitable<void> datagram_loop(std::shared_ptr<boost::asio::ip::udp::socket> on);
  asio::awaitable<void> answer_datagram(std::shared_ptr<boost::asio::ip::udp::socket> on,
                                        boost::asio::ip::udp::endpoint to, std::string message);
  asio::awaitable<void> dns_accept_loop(std::shared_ptr<tcp::acceptor> from);
  asio::awaitable<void> answer_stream(std::shared_ptr<flow> f);
  asio::awaitable<std::string> answer(std::string message, std::size_t limit);
  asio::awaitable<dns::answer> look_up(dns::question q, verdict& v);
  verdict may_ask(const dns::question& q);
  dns::answer from_memory(const dns::question& q) const;
  void filter(const dns::question& q, dns::answer& a, verdict& v);
  void remember(const std::string& name, const ip_address& address);
  bool remembers(const std::string& name, const ip_address& address) const;
  ip_address stand_in(const std::string& name);

  void tell(const char* operation, const flow& f, const verdict& v, json more = json::object());
  void tell_name(const dns::question& q, const verdict& v);
  void publish(json fact, std::chrono::steady_clock::duration took = {});

  egress& plane_;
  const std::string id_;
  rules rules_;
  runtime::scope work_;
  bool stopped_ = false;
  std::vector<std::shared_ptr<tcp::acceptor>> acceptors_;
  std::vector<std::shared_ptr<boost::asio::ip::udp::socket>> datagrams_;
  std::set<std::shared_ptr<flow>> flows_;
  byte_rate rate_;
  std::uint64_t connections_ = 0, denied_ = 0, bytes_in_ = 0, bytes_out_ = 0;
  std::size_t asking_ = 0;  // DNS questions under way
  // Which names led to an address, as this box was told: for protocols that name nobody.
  std::map<ip_address, std::vector<std::string>> names_of_;
  std::size_t remembered_ = 0;
  std::map<std::string, ip_address> stand_ins_;  // behind a proxy: names the host itself cannot resolve
  std::map<std::string, std::chrono::steady_clock::time_point> told_;  // look-ups in the journal already
  double tunnel_budget_ = 8192;
  std::chrono::steady_clock::time_point tunnel_filled_ = std::chrono::steady_clock::now();
};

// Where names under caged.internal live, as the box sees them.
inline const ip_address& internal_address() {
  static const ip_address address = boost::asio::ip::make_address("198.18.0.1");
  return address;
}
bool is_internal(std::string_view name);
// Of a client that has said something, but not all of it in time: it may not pass as a protocol that names nobody.
void unfinished_is_malformed(sniffed& seen);

}  // namespace caged::network
