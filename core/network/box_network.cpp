#include "core/network/box_network.hpp"

#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <caged/http_front.hpp>

#include "core/base/time.hpp"

namespace caged::network {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using udp = boost::asio::ip::udp;

// A client that is silent at first waits for the server to speak: SSH, mail, databases.
constexpr auto quiet_time = 250ms;
constexpr auto head_time = 10s;
constexpr auto linger_time = 1s;

// Where the connection was meant for before the redirection. A connection made to the gate's own port has no other
// target and shows its loopback address, which nobody may reach.
bool original_target(tcp::socket& s, destination& to) {
  sockaddr_storage target{};
  socklen_t size = sizeof target;
  boost::system::error_code ec;
  const bool v4 = s.local_endpoint(ec).address().is_v4();
  if (ec || ::getsockopt(s.native_handle(), v4 ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST, &target, &size) != 0) return false;
  tcp::endpoint endpoint;
  endpoint.resize(size);
  std::memcpy(endpoint.data(), &target, size);
  to.address = unmapped(endpoint.address());
  if (to.address.is_v6()) {
    auto plain = to.address.to_v6();
    plain.scope_id(0);
    to.address = plain;
  }
  to.port = endpoint.port();
  return true;
}

int family_of(int fd) {
  int family = AF_INET;
  socklen_t size = sizeof family;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family;
}

}  // namespace

box_network::box_network(egress& plane, std::string id, rules r)
    : plane_(plane),
      id_(std::move(id)),
      rules_(std::move(r)),
      work_(plane.parts_.executor, [this](std::string_view name, std::string_view what) {
        plane_.parts_.log(log_level::error, std::string(name) + " of " + id_ + " failed: " + std::string(what));
      }) {
  rate_.set(rules_.bytes_per_second);
}

result<void> box_network::start(box_gate gate) {
  const auto executor = plane_.parts_.executor;
  const auto listen = [&](std::vector<owned_fd>& fds) -> result<std::vector<std::shared_ptr<tcp::acceptor>>> {
    std::vector<std::shared_ptr<tcp::acceptor>> out;
    for (auto& fd : fds) {
      auto a = std::make_shared<tcp::acceptor>(executor);
      boost::system::error_code ec;
      a->assign(family_of(fd.get()) == AF_INET ? tcp::v4() : tcp::v6(), fd.get(), ec);
      if (ec) return errno_error(ec.value(), "use a socket of the sandbox's gate");
      fd.release();
      acceptors_.push_back(a);
      out.push_back(std::move(a));
    }
    return out;
  };
  auto streams = listen(gate.streams);
  if (!streams) return streams.error();
  auto dns = listen(gate.dns_streams);
  if (!dns) return dns.error();
  for (auto& fd : gate.dns_datagrams) {
    auto s = std::make_shared<udp::socket>(executor);
    boost::system::error_code ec;
    s->assign(family_of(fd.get()) == AF_INET ? udp::v4() : udp::v6(), fd.get(), ec);
    if (ec) return errno_error(ec.value(), "use a socket of the sandbox's gate");
    fd.release();
    datagrams_.push_back(s);
    work_.spawn("names", datagram_loop(s));
  }
  for (auto& a : *streams) work_.spawn("connections", accept_loop(a));
  for (auto& a : *dns) work_.spawn("names", dns_accept_loop(a));
  return {};
}

void box_network::stop() {
  stopped_ = true;
  boost::system::error_code ignored;
  for (auto& a : acceptors_) a->close(ignored);
  for (auto& s : datagrams_) s->close(ignored);
  for (const auto& f : flows_) cut(*f, "closed");
  work_.cancel();
}

void box_network::cut(flow& f, std::string rule) {
  if (!f.cut.empty()) return;
  f.cut = std::move(rule);
  boost::system::error_code ignored;
  for (auto* s : {&f.client, &f.upstream}) {
    s->cancel(ignored);
    s->shutdown(tcp::socket::shutdown_both, ignored);
  }
}

void box_network::change(rules r) {
  rules_ = std::move(r);
  rate_.set(rules_.bytes_per_second);
  told_.clear();
  const auto all = flows_;
  for (const auto& f : all)
    if (f->announced && !decide(rules_, f->to).allowed) cut(*f, "rules_changed");
}

bool box_network::within_limits(flow& f) {
  if (!f.cut.empty()) return false;
  if (rules_.bytes_total != 0 && bytes_in_ + bytes_out_ + f.in + f.out >= rules_.bytes_total) {
    cut(f, "byte_limit");
    return false;
  }
  return true;
}

asio::awaitable<void> box_network::accept_loop(std::shared_ptr<tcp::acceptor> from) {
  while (!stopped_ && from->is_open()) {
    auto [ec, socket] = co_await from->async_accept(use_tuple);
    if (ec == asio::error::operation_aborted) co_return;
    if (ec || stopped_) {
      co_await wait_for(50ms);  // out of descriptors, mostly: others will close theirs
      continue;
    }
    if (!plane_.has_room(flows_.size())) {
      ++denied_;
      continue;  // closed at once: a flood may not cost more than that
    }
    auto f = enter(std::move(socket));
    ++connections_;
    work_.spawn("a connection", serve(std::move(f)));
  }
}

std::shared_ptr<flow> box_network::enter(tcp::socket from) {
  auto f = std::make_shared<flow>(plane_.parts_.executor, std::move(from));
  flows_.insert(f);
  ++plane_.open_flows_;
  return f;
}

void box_network::leave(const std::shared_ptr<flow>& f) {
  boost::system::error_code ignored;
  f->timer.cancel();
  f->upstream.close(ignored);
  f->client.close(ignored);
  plane_.open_flows_ -= flows_.erase(f);
}

asio::awaitable<bool> box_network::read_more(std::shared_ptr<flow> f, std::chrono::steady_clock::time_point until) {
  std::array<char, 16384> piece;
  // What is there already needs no timer.
  boost::system::error_code ec;
  f->client.non_blocking(true, ec);
  std::size_t n = f->client.read_some(asio::buffer(piece), ec);
  if (ec == asio::error::would_block || ec == asio::error::try_again) {
    f->timer.expires_at(until);
    f->timer.async_wait([f](boost::system::error_code late) {
      boost::system::error_code ignored;
      if (!late) f->client.cancel(ignored);
    });
    std::tie(ec, n) = co_await f->client.async_read_some(asio::buffer(piece), use_tuple);
    f->timer.cancel();
  }
  if (ec) co_return false;
  f->head.append(piece.data(), n);
  co_return true;
}

// `need_more` afterwards means: it was silent for `quiet`, or did not finish its first message in time.
asio::awaitable<sniffed> box_network::first_bytes(std::shared_ptr<flow> f, std::chrono::steady_clock::duration quiet) {
  const auto end = clock::now() + head_time;
  sniffed seen = sniff(f->head);
  while (seen.what == sniffed::kind::need_more && f->head.size() <= sniff_limit) {
    const bool got = co_await read_more(f, f->head.empty() ? clock::now() + quiet : end);
    if (!got) co_return seen;
    seen = sniff(f->head);
  }
  co_return seen;
}

void unfinished_is_malformed(sniffed& seen) {
  if (seen.what != sniffed::kind::need_more) return;
  seen.what = sniffed::kind::malformed;
  seen.problem = "its first message did not arrive within 10 s";
}

asio::awaitable<void> box_network::serve(std::shared_ptr<flow> f) {
  boost::system::error_code ignored;
  f->client.set_option(tcp::no_delay(true), ignored);
  if (original_target(f->client, f->to)) {
    sniffed seen = co_await first_bytes(f, quiet_time);
    if (f->to.address == internal_address()) {
      co_await serve_internal(f, std::move(seen));
    } else {
      if (!f->head.empty()) unfinished_is_malformed(seen);
      auto verdict_now = co_await judge(f, std::move(seen));
      verdict v = verdict_now ? *verdict_now : deny("failed", describe(verdict_now.error()), "");
      if (!f->cut.empty()) v = deny(f->cut, "the rules changed meanwhile", "");
      if (!v.allowed) {
        co_await refuse(f, v);
      } else {
        f->announced = true;
        f->rule = v.rule;
        tell("connect", *f, v);
        const bool connected = co_await dial(f);
        if (connected) co_await relay(f);
        const auto took = clock::now() - f->begun;
        json fact{{"bytes_in", f->in},
                  {"bytes_out", f->out},
                  {"duration_us", std::chrono::duration_cast<std::chrono::microseconds>(took).count()}};
        if (!f->cut.empty()) fact["cut_by"] = f->cut;
        if (!f->failure.empty()) fact["failure"] = f->failure;
        bytes_in_ += f->in;
        bytes_out_ += f->out;
        f->in = f->out = 0;
        tell("close", *f, v, std::move(fact));
      }
    }
  }
  leave(f);
}

// A name under caged.internal: the host's own HTTP front takes the connection, with its Host as it was sent.
asio::awaitable<void> box_network::serve_internal(std::shared_ptr<flow> f, sniffed seen) {
  const auto name = normal_name(seen.name);
  const bool http = seen.what == sniffed::kind::http && f->to.port == 80;
  if (!http || !name || !is_internal(*name) || !plane_.parts_.serves || !plane_.parts_.serves(*name)) {
    f->to.name = name.value_or("");
    f->to.protocol = seen.what == sniffed::kind::http ? "http" : "tcp";
    co_await refuse(f,
                    deny("internal", "the host serves nothing at " + shown(f->to), "Use http://llm.caged.internal."));
    co_return;
  }
  plane_.parts_.hand_over(std::move(f->client), std::move(f->head), id_);
}

// A clean end: HTTP gets an answer that says why, everything else an end of the stream.
asio::awaitable<void> box_network::refuse(std::shared_ptr<flow> f, verdict why) {
  ++denied_;
  tell("connect", *f, why);
  if (f->to.protocol == "http") {
    const error e =
        fail(errc::permission_denied, "network_denied", why.reason + " (rule " + why.rule + ")", why.advice);
    auto body = http::problem_document(e, 403);
    body["rule"] = why.rule;
    const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    const std::string answer = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: " +
                               std::to_string(text.size()) + "\r\nConnection: close\r\n\r\n" + text;
    co_await send_all(f->client, answer);
  }
  boost::system::error_code ignored;
  f->client.shutdown(tcp::socket::shutdown_send, ignored);
  // Closing with unread bytes sends a reset, which can destroy the answer before the client has read it.
  const auto end = clock::now() + linger_time;
  for (int pieces = 0; pieces < 64 && f->cut.empty(); ++pieces) {
    f->head.clear();
    const bool more = co_await read_more(f, end);
    if (!more) co_return;
  }
}

void box_network::publish(json fact, std::chrono::steady_clock::duration took) {
  event e;
  e.sandbox_id = id_;
  e.type = "network";
  e.time_us = base::now_us();
  e.duration_us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  e.data = std::move(fact);
  plane_.parts_.publish(std::move(e));
}

void box_network::tell(const char* operation, const flow& f, const verdict& v, json more) {
  json fact{{"operation", operation}, {"host", f.to.name},         {"address", f.to.address.to_string()},
            {"port", f.to.port},      {"protocol", f.to.protocol}, {"verdict", v.allowed ? "allow" : "deny"},
            {"rule", v.rule}};
  if (!v.allowed) fact.update({{"reason", v.reason}, {"advice", v.advice}});
  fact.update(more);
  publish(std::move(fact), clock::now() - f.begun);
}

json box_network::status() const {
  std::uint64_t in = bytes_in_, out = bytes_out_;
  for (const auto& f : flows_) {
    in += f->in;
    out += f->out;
  }
  return {{"open_connections", flows_.size()},
          {"connections", connections_},
          {"denied", denied_},
          {"bytes_in", in},
          {"bytes_out", out}};
}

}  // namespace caged::network
