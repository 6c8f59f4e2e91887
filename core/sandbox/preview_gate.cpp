#include "core/sandbox/preview_gate.hpp"

#include <openssl/evp.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <caged/http_upstream.hpp>
#include <caged/random.hpp>
#include <caged/vmm_network.hpp>

#include "core/runtime/deadline.hpp"
#include "core/runtime/loop.hpp"

namespace caged::sandbox {
namespace {

constexpr auto connect_limit = std::chrono::seconds(5);

// "salt$hash". Passwords are people's: slow to try.
std::string hash_of(const std::string& password, const std::string& salt) {
  unsigned char out[32];
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                    reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()), 100'000,
                    EVP_sha256(), sizeof out, out);
  return salt + "$" + sha256_hex(std::string_view(reinterpret_cast<const char*>(out), sizeof out));
}

error not_running(const record& r) {
  std::string action = "See `caged status " + r.id + "`.";
  if (r.status == state::paused) action = "Resume it: `caged resume " + r.id + "`.";
  return fail(errc::conflict, "sandbox_not_running", "sandbox " + r.id + " is " + std::string(to_string(r.status)),
              action);
}

error closed(const std::string& id, int port) {
  return fail(errc::unavailable, "port_closed", "nothing listens on port " + std::to_string(port) + " of sandbox " + id,
              "Start a server there, on any address of the sandbox.");
}

task<std::shared_ptr<byte_stream>> connect_inside(vmm_network* network, std::string id, int port, int family) {
  auto sockets = co_await network->inner_sockets(id, family, 1);
  if (!sockets) co_return sockets.error();
  if (sockets->empty()) co_return closed(id, port);
  using tcp = asio::ip::tcp;
  const auto protocol = family == AF_INET6 ? tcp::v6() : tcp::v4();
  tcp::socket socket(co_await asio::this_coro::executor);
  boost::system::error_code ec;
  const int fd = sockets->front().get();
  socket.assign(protocol, fd, ec);
  if (ec) co_return closed(id, port);
  (void)sockets->front().release();
  const asio::ip::address here = family == AF_INET6 ? asio::ip::address(asio::ip::address_v6::loopback())
                                                    : asio::ip::address(asio::ip::address_v4::loopback());
  const tcp::endpoint to(here, static_cast<std::uint16_t>(port));
  const auto [failed] = co_await socket.async_connect(to, use_tuple);
  if (failed) co_return closed(id, port);
  socket.set_option(tcp::no_delay(true), ec);
  co_return http::stream_of(std::move(socket));
}

}  // namespace

result<preview_door> preview_gate::look(std::string_view id, int port) {
  if (sandboxes_ == nullptr) return fail(errc::unavailable, "starting", "the server is starting", "Try again soon.");
  auto found = sandboxes_->find(id);
  if (!found) return found.error();
  const auto& l = **found;
  const auto at = l.ports.find(port);
  const auto before =
      at == l.ports.end() ? l.ports.size() : static_cast<std::size_t>(std::distance(l.ports.begin(), at));
  if (before >= most_previews)
    return fail(errc::limit_exceeded, "too_many_ports",
                "sandbox " + l.rec.id + " has more than " + std::to_string(most_previews) + " open ports; port " +
                    std::to_string(port) + " is not shown",
                "Close some of them.");
  preview_door door;
  door.state = to_string(l.rec.status);
  if (const auto guard = l.rec.port_passwords.find(std::to_string(port)); guard != l.rec.port_passwords.end()) {
    door.guarded = true;
    door.guard = sha256_hex("guard " + guard->second);
  }
  return door;
}

task<bool> preview_gate::opens(std::string id, int port, std::string password) {
  auto found = sandboxes_->find(id);
  if (!found) co_return found.error();
  const auto& kept = (*found)->rec.port_passwords;
  const auto guard = kept.find(std::to_string(port));
  if (guard == kept.end()) co_return true;
  const std::string wanted = guard->second;
  auto trying = [password = std::move(password), wanted] {
    return equal_constant_time(hash_of(password, wanted.substr(0, wanted.find('$'))), wanted);
  };
  const bool right = co_await runtime::on_pool(pool_, std::move(trying));
  co_return right;
}

task<void> preview_gate::protect(std::string id, int port, std::string password) {
  auto found = sandboxes_->find(id);
  if (!found) co_return found.error();
  auto l = *found;
  std::string kept;
  if (!password.empty()) {
    auto hashing = [password = std::move(password)] { return hash_of(password, random_hex("", 16)); };
    kept = co_await runtime::on_pool(pool_, std::move(hashing));
  }
  if (kept.empty())
    l->rec.port_passwords.erase(std::to_string(port));
  else
    l->rec.port_passwords[std::to_string(port)] = kept;
  json fact{{"phase", "updated"}, {"port", port}, {"protected", !kept.empty()}};
  std::vector<write> none;
  co_return co_await sandboxes_->save_with(l, "lifecycle", std::move(fact), {}, std::move(none));
}

task<preview_connection> preview_gate::dial(std::string id, int port, waking w) {
  auto found = sandboxes_->find(id);
  if (!found) co_return found.error();
  auto l = *found;
  if (l->rec.status == state::paused && w == waking::on_request) {
    auto woken = co_await sandboxes_->resume(id);
    if (!woken && l->rec.status != state::running) co_return woken.error();
  }
  if (l->rec.status != state::running) co_return not_running(l->rec);
  auto backend = sandboxes_->backend_of(l->rec);
  if (!backend) co_return backend.error();
  auto* network = (*backend)->extension<vmm_network>();
  if (network == nullptr)
    co_return fail(errc::unsupported, "no_network", "the backend " + l->rec.backend + " gives no way to ports inside",
                   "Use a backend that does.");
  preview_connection made;
  made.busy = std::make_shared<activity>(l);
  error last = closed(id, port);
  for (const int family : {AF_INET, AF_INET6}) {
    auto trying = connect_inside(network, id, port, family);
    auto stream = co_await runtime::within<std::shared_ptr<byte_stream>>(
        connect_limit, "connecting to port " + std::to_string(port), std::move(trying));
    if (stream) {
      made.stream = std::move(*stream);
      co_return made;
    }
    last = stream.error();
  }
  co_return last.reason == "port_closed" ? last : closed(id, port);
}

}  // namespace caged::sandbox
