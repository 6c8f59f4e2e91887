// DNS for one sandbox: questions are answered by the host, and only for what its rules allow.
#include <algorithm>

#include "core/network/box_network.hpp"
#include "core/runtime/deadline.hpp"

namespace caged::network {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using udp = boost::asio::ip::udp;

constexpr std::size_t most_asking = 512;       // questions under way for one sandbox
constexpr std::size_t most_remembered = 20'000;
constexpr auto tell_again = 60s;
constexpr auto stream_idle = 10s;
// A wildcard lets a sandbox choose labels, and labels carry data out. Ordinary work asks for few names; a tunnel for
// thousands of long ones. The budget is in bytes of the part that the sandbox chose.
constexpr double tunnel_bytes = 8192, tunnel_bytes_per_second = 64;
constexpr std::size_t longest_chosen = 100;

// "_http._tcp.example.org" → "example.org": a service belongs to its host.
std::string_view without_service(std::string_view name) {
  while (name.starts_with('_') && name.find('.') != std::string_view::npos) name.remove_prefix(name.find('.') + 1);
  return name;
}

// The address in a reverse name.
std::optional<ip_address> reversed(std::string_view name) {
  constexpr std::string_view v4 = ".in-addr.arpa", v6 = ".ip6.arpa";
  std::vector<std::string_view> labels;
  const bool four = name.ends_with(v4);
  if (!four && !name.ends_with(v6)) return std::nullopt;
  name.remove_suffix(four ? v4.size() : v6.size());
  while (!name.empty()) {
    labels.push_back(name.substr(0, name.find('.')));
    name.remove_prefix(std::min(name.size(), labels.back().size() + 1));
  }
  if (labels.size() != (four ? 4u : 32u)) return std::nullopt;
  std::string text;
  for (std::size_t i = labels.size(); i-- > 0;) {
    text += labels[i];
    if (four ? i > 0 : (i % 4 == 0 && i > 0)) text += four ? "." : ":";
  }
  return parse_address(text);
}

}  // namespace

bool box_network::remembers(const std::string& name, const ip_address& address) const {
  const auto found = names_of_.find(address);
  return found != names_of_.end() && std::find(found->second.begin(), found->second.end(), name) != found->second.end();
}

void box_network::remember(const std::string& name, const ip_address& address) {
  if (remembered_ >= most_remembered) {
    names_of_.clear();
    remembered_ = 0;
  }
  auto& names = names_of_[address];
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  names.push_back(name);
  ++remembered_;
}

ip_address box_network::stand_in(const std::string& name) {
  if (const auto found = stand_ins_.find(name); found != stand_ins_.end()) return found->second;
  if (stand_ins_.size() >= 60'000) stand_ins_.clear();
  // 198.18.1.0 and up: a range for benchmarks, which nothing real has.
  const auto number = 0xc6120100u + static_cast<std::uint32_t>(stand_ins_.size());
  const ip_address address = boost::asio::ip::address_v4(number);
  stand_ins_[name] = address;
  return address;
}

verdict box_network::may_ask(const dns::question& q) {
  if (q.type == dns::type_ptr) {
    if (rules_.access == mode::full || rules_.access == mode::learn) return decide_name(rules_, q.name);
    const auto address = reversed(q.name);
    if (address && names_of_.contains(*address)) return allow("answered_before");
    return deny("not_allowed", q.name + " is not the reverse name of an address that was looked up",
                "Look names up, not addresses.");
  }
  verdict v = decide_name(rules_, q.name);
  if (!v.allowed) v = decide_name(rules_, without_service(q.name));
  if (!v.allowed || rules_.access != mode::allowlist || !v.rule.starts_with("*")) return v;
  const auto chosen = q.name.size() - std::min(q.name.size(), v.rule.size() - v.rule.find('.'));
  const auto now = clock::now();
  tunnel_budget_ =
      std::min(tunnel_bytes,
               tunnel_budget_ + tunnel_bytes_per_second * std::chrono::duration<double>(now - tunnel_filled_).count());
  tunnel_filled_ = now;
  if (!told_.contains(q.name)) tunnel_budget_ -= static_cast<double>(chosen);
  if (chosen <= longest_chosen && tunnel_budget_ >= 0) return v;
  tunnel_budget_ = std::max(tunnel_budget_, -tunnel_bytes);
  return deny("dns_tunnel", q.name + " looks like data sent by name",
              "Look up fewer and shorter names, or list the names one by one.");
}

dns::answer box_network::from_memory(const dns::question& q) const {
  dns::answer a;
  const auto address = reversed(q.name);
  const auto found = address ? names_of_.find(*address) : names_of_.end();
  if (found == names_of_.end()) {
    a.code = dns::no_such_name;
    return a;
  }
  dns::record r;
  r.name = q.name;
  r.type = dns::type_ptr;
  r.ttl = 10;
  r.target = found->second.front();
  a.records.push_back(std::move(r));
  return a;
}

// Takes out addresses that nobody may reach, and remembers the others.
void box_network::filter(const dns::question& q, dns::answer& a, verdict& v) {
  std::string found;
  std::erase_if(a.records, [&](const dns::record& r) {
    if (r.type != dns::type_a && r.type != dns::type_aaaa) return false;
    const auto address = dns::address_of(r);
    const auto inner = plane_.inner_class(address, 0);
    if (inner.empty()) return false;
    found = address.to_string() + " (" + inner + ")";
    return true;
  });
  for (const auto& address : addresses_in(a, q.name)) remember(q.name, address);
  const bool any = std::any_of(a.records.begin(), a.records.end(), [&q](const auto& r) { return r.type == q.type; });
  if (found.empty() || any) return;
  a.records.clear();
  a.code = dns::no_such_name;
  v = deny("inner_address", q.name + " leads to " + found, "The operator may list the address in network.allow_inner.");
}

asio::awaitable<dns::answer> box_network::look_up(dns::question q, verdict& v) {
  dns::answer a;
  if (is_internal(q.name)) {
    v = allow("internal");
    if (!plane_.parts_.serves || !plane_.parts_.serves(q.name))
      a.code = dns::no_such_name;
    else if (q.type == dns::type_a)
      a.records.push_back(dns::address_record(q.name, internal_address(), 60));
    co_return a;
  }
  v = may_ask(q);
  if (!v.allowed) {
    a.code = dns::no_such_name;
    co_return a;
  }
  if (v.rule == "answered_before") co_return from_memory(q);
  // Others carry what we do not look into (HTTPS records: keys that hide names), so there are none.
  const bool known = q.type == dns::type_a || q.type == dns::type_aaaa || q.type == dns::type_cname ||
                     q.type == dns::type_ptr || q.type == dns::type_txt || q.type == dns::type_srv;
  if (!known) co_return a;
  auto got = co_await plane_.names_.ask(q.name, q.type);
  if (got) {
    a = std::move(*got);
  } else if (!plane_.parts_.options.proxy_host.empty() && (q.type == dns::type_a || q.type == dns::type_aaaa)) {
    // The proxy resolves; the sandbox gets an address that stands for the name.
    if (q.type == dns::type_a) a.records.push_back(dns::address_record(q.name, stand_in(q.name), 60));
    for (const auto& address : addresses_in(a, q.name)) remember(q.name, address);
    co_return a;
  } else {
    a.code = dns::server_failure;
  }
  filter(q, a, v);
  co_return a;
}

void box_network::tell_name(const dns::question& q, const verdict& v) {
  const auto now = clock::now();
  // Resolvers ask again and again; the journal keeps one of a kind a minute.
  const std::string key = v.allowed ? q.name : "!" + q.name;
  if (const auto found = told_.find(key); found != told_.end() && now - found->second < tell_again) return;
  if (told_.size() > 10'000) told_.clear();
  told_[key] = now;
  if (!v.allowed) ++denied_;
  json fact{{"operation", "dns"}, {"host", q.name}, {"query_type", dns::type_name(q.type)},
            {"protocol", "dns"},  {"port", 53},     {"verdict", v.allowed ? "allow" : "deny"},
            {"rule", v.rule}};
  if (!v.allowed) fact.update({{"reason", v.reason}, {"advice", v.advice}});
  publish(std::move(fact));
}

asio::awaitable<std::string> box_network::answer(std::string message, std::size_t limit) {
  const auto q = dns::parse_question(message);
  if (!q) {
    const auto id = dns::query_id(message);
    co_return id ? dns::encode_error(*id, dns::format_error) : std::string();
  }
  if (asking_ >= most_asking) co_return dns::encode_error(q->id, dns::server_failure);
  ++asking_;
  verdict v;
  dns::answer a = co_await look_up(*q, v);
  --asking_;
  tell_name(*q, v);
  co_return dns::encode_answer(*q, a, limit == 0 ? q->datagram_limit : limit,
                               v.allowed ? std::string_view() : std::string_view(v.reason));
}

asio::awaitable<void> box_network::datagram_loop(std::shared_ptr<udp::socket> on) {
  std::string buffer(4096, '\0');
  while (!stopped_ && on->is_open()) {
    udp::endpoint from;
    auto [ec, n] = co_await on->async_receive_from(asio::buffer(buffer), from, use_tuple);
    if (ec == asio::error::operation_aborted) co_return;
    if (ec || n == 0 || work_.running() > plane_.parts_.options.flows + most_asking) continue;
    work_.spawn("a question", answer_datagram(on, from, buffer.substr(0, n)));
  }
}

asio::awaitable<void> box_network::answer_datagram(std::shared_ptr<udp::socket> on, udp::endpoint to,
                                                   std::string message) {
  const std::string said = co_await answer(std::move(message), 0);
  if (said.empty() || !on->is_open()) co_return;
  co_await on->async_send_to(asio::buffer(said), to, use_tuple);
}

asio::awaitable<void> box_network::dns_accept_loop(std::shared_ptr<tcp::acceptor> from) {
  while (!stopped_ && from->is_open()) {
    auto [ec, socket] = co_await from->async_accept(use_tuple);
    if (ec == asio::error::operation_aborted) co_return;
    if (ec || !plane_.has_room(flows_.size())) {
      co_await wait_for(50ms);
      continue;
    }
    work_.spawn("questions", answer_stream(enter(std::move(socket))));
  }
}

asio::awaitable<void> box_network::answer_stream(std::shared_ptr<flow> f) {
  auto& in = f->head;
  while (f->cut.empty()) {
    const std::size_t size = in.size() < 2 ? 0
                                           : static_cast<std::size_t>(static_cast<unsigned char>(in[0])) << 8 |
                                                 static_cast<unsigned char>(in[1]);
    if (in.size() < 2 || in.size() < 2 + size) {
      const bool more = co_await read_more(f, clock::now() + stream_idle);
      if (!more) break;
      continue;
    }
    std::string message = in.substr(2, size);
    in.erase(0, 2 + size);
    const std::string said = co_await answer(std::move(message), 65535);
    if (said.empty()) break;
    std::string framed{static_cast<char>(said.size() >> 8), static_cast<char>(said.size() & 0xff)};
    framed += said;
    const bool sent = co_await send_all(f->client, framed);
    if (!sent) break;
  }
  leave(f);
}

}  // namespace caged::network
