#include "core/network/resolver.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <caged/random.hpp>
#include <fstream>
#include <sstream>

#include "core/runtime/deadline.hpp"

namespace caged::network {
namespace {

using namespace std::chrono_literals;
using boost::asio::ip::tcp;
using boost::asio::ip::udp;

constexpr auto one_try = 2s;
constexpr int rounds = 2;
constexpr std::size_t most_kept = 10'000;
// Short: whoever may look a name up is decided at each connection, and rebinding must not be helped by long memory.
constexpr std::uint32_t longest_ttl = 60, shortest_ttl = 1;

std::uint16_t random_number() {
  std::array<std::byte, 2> bytes{};
  random_bytes(bytes);
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[0]) << 8 | std::to_integer<unsigned>(bytes[1]));
}

error no_answer(const std::string& name) {
  return fail(errc::unavailable, "name_server_unreachable", "no name server of the host answered for " + name,
              "Look at the host's /etc/resolv.conf, or set network.resolvers in the configuration.");
}

}  // namespace

std::vector<udp::endpoint> resolver::servers() {
  if (!options_.servers.empty()) return options_.servers;
  struct stat info {};
  if (::stat("/etc/resolv.conf", &info) != 0) return system_;
  const std::int64_t changed = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
  if (changed == system_time_) return system_;
  system_time_ = changed;
  system_.clear();
  std::ifstream in("/etc/resolv.conf");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key, value;
    if (!(words >> key >> value) || key != "nameserver") continue;
    boost::system::error_code ec;
    const auto address = boost::asio::ip::make_address(value, ec);
    if (!ec && system_.size() < 3) system_.emplace_back(address, 53);
  }
  if (system_.empty()) system_.emplace_back(boost::asio::ip::address_v4::loopback(), 53);
  return system_;
}

void resolver::keep(const std::string& name, std::uint16_t type, const dns::answer& a) {
  if (a.code != dns::no_error && a.code != dns::no_such_name) return;
  std::uint32_t ttl = a.records.empty() ? 5 : longest_ttl;
  for (const auto& r : a.records) ttl = std::min(ttl, r.ttl);
  if (kept_.size() >= most_kept) kept_.clear();
  kept_[{name, type}] = {a, std::chrono::steady_clock::now() + std::chrono::seconds(std::max(ttl, shortest_ttl))};
}

task<dns::answer> resolver::ask(std::string name, std::uint16_t type) {
  if (const auto fixed = options_.fixed.find(name); fixed != options_.fixed.end()) {
    dns::answer a;
    for (const auto& address : fixed->second) {
      auto r = dns::address_record(name, address, longest_ttl);
      if (r.type == type) a.records.push_back(std::move(r));
    }
    co_return a;
  }
  if (const auto known = kept_.find({name, type}); known != kept_.end()) {
    if (known->second.until > std::chrono::steady_clock::now()) co_return known->second.what;
    kept_.erase(known);
  }
  for (int round = 0; round < rounds; ++round) {
    for (const auto& server : servers()) {
      auto work = ask_server(server, name, type);
      auto got = co_await runtime::within<dns::answer>(one_try, "asking a name server", std::move(work));
      if (got && got->truncated) {
        auto again = ask_by_stream(server, name, type);
        got = co_await runtime::within<dns::answer>(one_try * 2, "asking a name server", std::move(again));
      }
      if (!got || got->code == dns::server_failure || got->code == dns::refused) continue;
      keep(name, type, *got);
      co_return std::move(*got);
    }
  }
  co_return no_answer(name);
}

task<dns::answer> resolver::ask_server(udp::endpoint server, std::string name, std::uint16_t type) {
  udp::socket s(co_await asio::this_coro::executor);
  boost::system::error_code bad;
  s.open(server.protocol(), bad);
  if (!bad) s.connect(server, bad);  // the kernel then drops what comes from elsewhere
  if (bad) co_return no_answer(name);
  const auto id = random_number();
  const std::string asked = dns::encode_question(id, name, type);
  auto [send_error, sent] = co_await s.async_send(asio::buffer(asked), use_tuple);
  if (send_error) co_return no_answer(name);
  std::string buffer(4096, '\0');
  for (int strays = 0; strays < 100; ++strays) {
    auto [ec, n] = co_await s.async_receive(asio::buffer(buffer), use_tuple);
    if (ec) co_return no_answer(name);
    auto a = dns::parse_answer(std::string_view(buffer).substr(0, n), id, name, type);
    if (a) co_return std::move(*a);
  }
  co_return no_answer(name);
}

task<dns::answer> resolver::ask_by_stream(udp::endpoint server, std::string name, std::uint16_t type) {
  tcp::socket s(co_await asio::this_coro::executor);
  auto [connect_error] = co_await s.async_connect(tcp::endpoint(server.address(), server.port()), use_tuple);
  if (connect_error) co_return no_answer(name);
  const auto id = random_number();
  const std::string question = dns::encode_question(id, name, type);
  std::string asked{static_cast<char>(question.size() >> 8), static_cast<char>(question.size() & 0xff)};
  asked += question;
  auto [write_error, written] = co_await asio::async_write(s, asio::buffer(asked), use_tuple);
  if (write_error) co_return no_answer(name);
  std::array<unsigned char, 2> size{};
  auto [size_error, got] = co_await asio::async_read(s, asio::buffer(size), use_tuple);
  if (size_error) co_return no_answer(name);
  std::string buffer(static_cast<std::size_t>(size[0]) << 8 | size[1], '\0');
  auto [read_error, n] = co_await asio::async_read(s, asio::buffer(buffer), use_tuple);
  if (read_error) co_return no_answer(name);
  auto a = dns::parse_answer(buffer, id, name, type);
  if (!a) co_return no_answer(name);
  a->truncated = false;
  co_return std::move(*a);
}

std::vector<ip_address> addresses_in(const dns::answer& a, std::string_view name) {
  std::vector<std::string> names{std::string(name)};
  // As often as there are records: a chain of CNAMEs may stand in any order.
  for (std::size_t i = 0; i < a.records.size() && names.size() < 16; ++i)
    for (const auto& r : a.records)
      if (r.type == dns::type_cname && std::find(names.begin(), names.end(), r.name) != names.end() &&
          std::find(names.begin(), names.end(), r.target) == names.end())
        names.push_back(r.target);
  std::vector<ip_address> out;
  for (const auto& r : a.records)
    if ((r.type == dns::type_a || r.type == dns::type_aaaa) &&
        std::find(names.begin(), names.end(), r.name) != names.end())
      out.push_back(dns::address_of(r));
  return out;
}

task<std::vector<ip_address>> resolver::addresses(std::string name) {
  auto v4 = co_await ask(name, dns::type_a);
  auto v6 = co_await ask(name, dns::type_aaaa);
  if (!v4 && !v6) co_return v4.error();
  std::vector<ip_address> out;
  if (v4) out = addresses_in(*v4, name);
  if (v6)
    for (const auto& one : addresses_in(*v6, name)) out.push_back(one);
  co_return out;
}

}  // namespace caged::network
