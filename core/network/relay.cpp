// Connections to the outside, and the moving of bytes between the two ends of a flow.
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "core/network/box_network.hpp"

namespace caged::network {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
constexpr auto connect_time = 10s;
constexpr std::size_t proxy_answer_limit = 16 * 1024;

bool goes_direct(const settings& s, const std::string& name) {
  if (s.proxy_host.empty()) return true;
  for (const auto& entry : s.proxy_not_for) {
    if (entry == "*" || entry == name) return true;
    const std::string suffix = entry.starts_with('.') ? entry : "." + entry;
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

}  // namespace

asio::awaitable<bool> box_network::connect(std::shared_ptr<flow> f, tcp::endpoint to) {
  f->timer.expires_after(connect_time);
  f->timer.async_wait([f](boost::system::error_code late) {
    boost::system::error_code ignored;
    if (!late) f->upstream.cancel(ignored);
  });
  auto [ec] = co_await f->upstream.async_connect(to, use_tuple);
  f->timer.cancel();
  if (ec) {
    f->failure = ec == asio::error::operation_aborted ? "it did not answer within 10 s" : ec.message();
    co_return false;
  }
  boost::system::error_code ignored;
  f->upstream.set_option(tcp::no_delay(true), ignored);
  f->upstream.set_option(asio::socket_base::keep_alive(true), ignored);
  f->client.set_option(asio::socket_base::keep_alive(true), ignored);
  co_return f->cut.empty();
}

asio::awaitable<bool> box_network::dial(std::shared_ptr<flow> f) {
  bool connected = false;
  if (!goes_direct(plane_.parts_.options, f->to.name)) {
    connected = co_await dial_proxy(f);
  } else if (plane_.inner_class(f->to.address, f->to.port).empty()) {
    // The address itself, never a name again: what was judged is what is dialled.
    connected = co_await connect(f, tcp::endpoint(f->to.address, f->to.port));
  } else {
    f->failure = "the name has no address that may be dialled";
  }
  if (!connected) {
    // The sandbox sees what it would have seen without us: no connection.
    boost::system::error_code ignored;
    f->client.set_option(asio::socket_base::linger(true, 0), ignored);
  }
  co_return connected;
}

asio::awaitable<bool> box_network::dial_proxy(std::shared_ptr<flow> f) {
  const auto& s = plane_.parts_.options;
  std::vector<ip_address> where;
  if (const auto literal = parse_address(s.proxy_host)) {
    where.push_back(*literal);
  } else if (auto found = co_await plane_.names_.addresses(s.proxy_host)) {
    where = *found;
  }
  if (where.empty()) {
    f->failure = "the upstream proxy " + s.proxy_host + " has no address";
    co_return false;
  }
  const bool connected = co_await connect(f, tcp::endpoint(where.front(), s.proxy_port));
  if (!connected) co_return false;
  const std::string target = shown(f->to);
  std::string ask = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n";
  if (!s.proxy_authorization.empty()) ask += "Proxy-Authorization: " + s.proxy_authorization + "\r\n";
  ask += "\r\n";
  const bool sent = co_await send_all(f->upstream, ask);
  std::string answer;
  while (sent && answer.find("\r\n\r\n") == std::string::npos && answer.size() < proxy_answer_limit) {
    char c = 0;  // not one byte beyond the head may be taken: it belongs to the sandbox
    auto [ec, n] = co_await f->upstream.async_read_some(asio::buffer(&c, 1), use_tuple);
    if (ec) break;
    answer.push_back(c);
  }
  const bool agreed =
      answer.starts_with("HTTP/1.") && answer.size() > 12 && answer[9] == '2' && answer.ends_with("\r\n\r\n");
  if (!agreed) f->failure = "the upstream proxy said: " + answer.substr(0, answer.find('\r'));
  co_return agreed;
}

direction box_network::towards(const std::shared_ptr<flow>& f, bool up) {
  direction d;
  d.from = up ? &f->client : &f->upstream;
  d.to = up ? &f->upstream : &f->client;
  d.moved = up ? &f->out : &f->in;
  d.pipes = &plane_.pipes_;
  d.rate = &rate_;
  d.go_on = [this, f] { return within_limits(*f); };
  return d;
}

asio::awaitable<void> box_network::relay(std::shared_ptr<flow> f) {
  using namespace asio::experimental::awaitable_operators;
  co_await (upwards(f) && downwards(f));
}

asio::awaitable<void> box_network::upwards(std::shared_ptr<flow> f) {
  // A client that was silent while it was judged is judged again by the first thing it says.
  if (f->head.empty()) {
    const bool spoke = co_await read_more(f, clock::time_point::max());
    if (spoke && rules_.access == mode::allowlist) {
      sniffed seen = co_await first_bytes(f, 10s);
      unfinished_is_malformed(seen);
      if (seen.what != sniffed::kind::other) {
        auto again = co_await judge(f, std::move(seen));
        if (!again || !again->allowed) {
          tell("connect", *f, again ? *again : deny("failed", describe(again.error()), ""));
          cut(*f, again ? again->rule : "failed");
          co_return;
        }
      }
    }
  }
  if (f->to.protocol == "http" && rules_.access == mode::allowlist && f->to.name_source == "host") {
    co_await requests(f);
  } else {
    const std::string head = std::exchange(f->head, {});
    const bool sent = co_await send_all(f->upstream, head);
    f->out += sent ? head.size() : 0;
    if (sent) co_await pump(towards(f, true));
  }
  // Whatever ended this direction, the other side learns of it.
  boost::system::error_code ignored;
  if (f->upstream.is_open()) f->upstream.shutdown(tcp::socket::shutdown_send, ignored);
}

// Plain HTTP in allowlist mode: one connection may carry requests for several hosts, and each is judged by its own.
asio::awaitable<void> box_network::requests(std::shared_ptr<flow> f) {
  request_stream stream;
  while (f->cut.empty()) {
    auto step = stream.next(f->head);
    if (step.what == request_stream::step::kind::malformed) {
      verdict v = deny("malformed", "a request to " + shown(f->to) + " had " + step.problem,
                       "Use a client that speaks HTTP as written.");
      tell("connect", *f, v);
      co_return cut(*f, "malformed");
    }
    if (step.what == request_stream::step::kind::judge) {
      const auto name = normal_name(step.head.host);
      if (!name || *name != f->to.name) {
        verdict v = deny("other_host", "a request for " + step.head.host + " came on a connection to " + shown(f->to),
                         "Use a connection of its own for each host.");
        tell("connect", *f, v);
        co_return cut(*f, "other_host");
      }
      stream.allow();
      continue;
    }
    if (step.what == request_stream::step::kind::forward) {
      if (stream.wants_upgrade()) f->upgrade = flow::upgrading::wanted;
      const bool sent = co_await send_all(f->upstream, std::string_view(f->head).substr(0, step.count));
      if (!sent) co_return;
      f->out += step.count;
      f->head.erase(0, step.count);
      if (!within_limits(*f)) co_return;
      co_await wait_for(rate_.charge(step.count));
      if (!stream.wants_upgrade()) continue;
      const bool agreed = co_await await_upgrade(f);
      if (!agreed) {
        stream.refuse_upgrade();
        f->upgrade = flow::upgrading::unset;
        continue;
      }
      const std::string rest = std::exchange(f->head, {});
      const bool passed = co_await send_all(f->upstream, rest);
      f->out += passed ? rest.size() : 0;
      if (passed) co_await pump(towards(f, true));
      co_return;
    }
    const bool got = co_await read_more(f, clock::time_point::max());
    if (!got) co_return;
  }
}

// Nothing more goes up until the server has said whether it changes the protocol.
asio::awaitable<bool> box_network::await_upgrade(std::shared_ptr<flow> f) {
  while (f->cut.empty() && f->upgrade == flow::upgrading::wanted) {
    f->timer.expires_at(clock::time_point::max());
    co_await f->timer.async_wait(use_tuple);
  }
  co_return f->upgrade == flow::upgrading::agreed;
}

// Looks at the answer's first bytes without taking them.
void box_network::look_for_upgrade(flow& f) {
  constexpr std::string_view agreed = "HTTP/1.1 101";
  char begin[agreed.size()];
  const ssize_t n = ::recv(f.upstream.native_handle(), begin, sizeof begin, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return;
  f.upgrade = std::string_view(begin, static_cast<std::size_t>(n)) == agreed ? flow::upgrading::agreed
                                                                             : flow::upgrading::refused;
  f.timer.cancel();
}

asio::awaitable<void> box_network::downwards(std::shared_ptr<flow> f) {
  direction d = towards(f, false);
  d.before = [this, f] {
    if (f->upgrade == flow::upgrading::wanted) look_for_upgrade(*f);
  };
  co_await pump(std::move(d));
  if (f->upgrade == flow::upgrading::wanted) f->upgrade = flow::upgrading::refused;
  f->timer.cancel();
  boost::system::error_code ignored;
  if (f->client.is_open()) f->client.shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace caged::network
