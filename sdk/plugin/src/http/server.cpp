#include <caged/http_front.hpp>

#include <atomic>
#include <list>

#include "connection.hpp"

namespace caged::http {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t inner_most = 2048;  // connections from inside one sandbox

class server_impl : public server, public std::enable_shared_from_this<server_impl> {
 public:
  server_impl(asio::any_io_executor executor, server_options options) : hub_(std::make_shared<hub>()) {
    hub_->executor = std::move(executor);
    for (const auto& name : options.names) {
      // Names compare in lower case, as host_of() gives them.
      if (auto host = host_of(name)) hub_->names.names.push_back(*host);
    }
    hub_->names.origins = options.origins;
    hub_->options = std::move(options);
  }

  result<std::string> listen(std::string address, std::uint16_t port) override;
  void start() override;
  task<void> drain(std::chrono::milliseconds grace) override;
  asio::awaitable<void> stop() override;
  server_statistics statistics() const override;
  bool serves(std::string_view host) const override;
  void adopt(tcp::socket socket, std::string already_read, std::string sandbox_id) override;

  result<void> route(std::string host_suffix, std::string path_prefix, handler h) override;
  void unroute(std::string_view host_suffix, std::string_view path_prefix) override;
  std::vector<std::string> addresses() const override;
  bool origin_allowed(std::string_view origin, std::string_view request_host) const override {
    return hub_->names.origin_allowed(origin, request_host);
  }

 private:
  // An acceptor lives on a strand of its own, so that stopping it from any thread is safe.
  struct listener {
    listener(strand s) : on(s), acceptor(s), pause(s) {}
    strand on;
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    std::string url;
    bool accepting = false;
  };

  static asio::awaitable<void> accept_loop(std::shared_ptr<hub> h, std::shared_ptr<listener> from);
  static void take(const std::shared_ptr<hub>& h, tcp::socket socket, strand on);
  void begin(const std::shared_ptr<listener>& from);
  void close_listeners();
  std::vector<std::shared_ptr<connection>> connections() const;

  std::shared_ptr<hub> hub_;
  std::list<std::shared_ptr<listener>> listeners_;  // under hub_->lock
  bool started_ = false;                            // under hub_->lock
};

error listen_error(const error_code& ec, const std::string& where) {
  const std::string what = "cannot listen on " + where + ": " + ec.message();
  if (ec == asio::error::address_in_use)
    return fail(errc::conflict, "address_in_use", what, "Stop the program that has this port, or choose another one.");
  if (ec == asio::error::access_denied)
    return fail(errc::permission_denied, "permission_denied", what, "Choose a port from 1024 on.");
  return fail(errc::invalid_argument, "cannot_listen", what, "Give an address of this machine.");
}

result<std::string> server_impl::listen(std::string address, std::uint16_t port) {
  error_code ec;
  const auto ip = asio::ip::make_address(address == "localhost" ? "127.0.0.1" : address, ec);
  if (ec)
    return fail(errc::invalid_argument, "not_an_address", "\"" + address + "\" is no IP address",
                "Give an address such as 127.0.0.1, ::1 or 0.0.0.0.");
  const tcp::endpoint endpoint(ip, port);
  auto from = std::make_shared<listener>(asio::make_strand(hub_->executor));
  const std::string where = address + ":" + std::to_string(port);
  auto& acceptor = from->acceptor;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec && ip.is_v6()) acceptor.set_option(asio::ip::v6_only(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return listen_error(ec, where);
  const auto bound = acceptor.local_endpoint(ec);
  const std::string host = ip.is_v6() ? "[" + ip.to_string() + "]" : ip.to_string();
  from->url = "http://" + host + ":" + std::to_string(bound.port());
  bool running = false;
  {
    const std::lock_guard guard(hub_->lock);
    listeners_.push_back(from);
    running = started_;
  }
  if (running) begin(from);
  return from->url;
}

void server_impl::begin(const std::shared_ptr<listener>& from) {
  asio::co_spawn(from->on, accept_loop(hub_, from), [h = hub_](std::exception_ptr e) {
    if (e && !h->draining) h->log(log_level::error, "the HTTP front stopped accepting because of an exception");
  });
}

void server_impl::start() {
  std::list<std::shared_ptr<listener>> all;
  {
    const std::lock_guard guard(hub_->lock);
    if (started_) return;
    started_ = true;
    all = listeners_;
  }
  for (const auto& from : all) begin(from);
}

asio::awaitable<void> server_impl::accept_loop(std::shared_ptr<hub> h, std::shared_ptr<listener> from) {
  while (from->acceptor.is_open() && !h->draining) {
    const strand on = asio::make_strand(h->executor);
    auto [ec, socket] = co_await from->acceptor.async_accept(on, use_tuple);
    if (!ec) {
      take(h, tcp::socket(std::move(socket)), on);
    } else if (ec != asio::error::operation_aborted && from->acceptor.is_open()) {
      // Out of descriptors or memory, mostly: others will close theirs.
      h->log(log_level::warn, "cannot accept a connection: " + ec.message());
      from->pause.expires_after(50ms);
      co_await from->pause.async_wait(use_tuple);
    }
  }
}

void server_impl::take(const std::shared_ptr<hub>& h, tcp::socket socket, strand on) {
  const auto most = h->options.bounds.connections;
  const std::size_t now = h->connections.fetch_add(1) + 1 - h->inner_connections;
  h->accepted.fetch_add(1, std::memory_order_relaxed);
  if (now > most + 64) {  // a flood: not even an explanation
    h->connections.fetch_sub(1);
    h->turned_away.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const auto conn = std::make_shared<connection>(h, std::move(socket), on);
  std::uint64_t id = 0;
  {
    const std::lock_guard guard(h->lock);
    id = h->next_id++;
    h->live.emplace(id, conn);
  }
  const auto ended = [h, id, conn](std::exception_ptr) {
    conn->shut();
    {
      const std::lock_guard guard(h->lock);
      h->live.erase(id);
    }
    h->connections.fetch_sub(1);
  };
  auto work = now > most ? conn->turn_away() : conn->run();
  if (now > most) h->turned_away.fetch_add(1, std::memory_order_relaxed);
  asio::co_spawn(on, std::move(work), asio::bind_cancellation_slot(conn->cancel_signal().slot(), ended));
}

std::vector<std::shared_ptr<connection>> server_impl::connections() const {
  std::vector<std::shared_ptr<connection>> all;
  const std::lock_guard guard(hub_->lock);
  for (const auto& [id, weak] : hub_->live)
    if (auto conn = weak.lock()) all.push_back(std::move(conn));
  return all;
}

void server_impl::close_listeners() {
  const std::lock_guard guard(hub_->lock);
  for (const auto& from : listeners_)
    asio::post(from->on, [from] {
      error_code ec;
      from->acceptor.close(ec);
      from->pause.cancel();
    });
  listeners_.clear();
}

task<void> server_impl::drain(std::chrono::milliseconds grace) {
  const auto self = shared_from_this();
  hub_->draining = true;
  close_listeners();
  const auto deadline = clock::now() + grace;
  asio::steady_timer pause(hub_->executor);
  while (hub_->connections > 0) {
    // A connection may become idle between two looks.
    for (const auto& conn : connections()) conn->close_if_idle();
    if (clock::now() >= deadline)
      co_return fail(errc::deadline_exceeded, "drain_unfinished",
                     std::to_string(hub_->connections) + " connections did not end in time",
                     "They are cut when the server stops.");
    pause.expires_after(5ms);
    co_await pause.async_wait(use_tuple);
  }
  co_return result<void>{};
}

asio::awaitable<void> server_impl::stop() {
  const auto self = shared_from_this();
  hub_->draining = true;
  close_listeners();
  const auto deadline = clock::now() + 5s;
  asio::steady_timer pause(hub_->executor);
  while (hub_->connections > 0 && clock::now() < deadline) {
    for (const auto& conn : connections()) conn->abort();
    pause.expires_after(5ms);
    co_await pause.async_wait(use_tuple);
  }
  if (hub_->connections > 0)
    hub_->log(log_level::error, std::to_string(hub_->connections) + " connections could not be ended");
}

bool server_impl::serves(std::string_view host) const {
  std::shared_ptr<const std::vector<route_entry>> routes;
  {
    const std::lock_guard guard(hub_->lock);
    routes = hub_->routes;
  }
  return std::any_of(routes->begin(), routes->end(), [host](const auto& r) {
    if (r.suffix.empty() || !host.ends_with(r.suffix)) return false;
    return host.size() == r.suffix.size() || host[host.size() - r.suffix.size() - 1] == '.';
  });
}

void server_impl::adopt(tcp::socket socket, std::string already_read, std::string sandbox_id) {
  error_code ec;
  const auto protocol = socket.local_endpoint(ec).protocol();
  const strand on = asio::make_strand(hub_->executor);
  tcp::socket here(on);
  const auto handle = socket.release(ec);
  if (ec) return;
  here.assign(protocol, handle, ec);
  if (ec || hub_->draining) return;
  std::uint64_t id = 0;
  const auto conn = std::make_shared<connection>(hub_, std::move(here), on, std::move(already_read), sandbox_id);
  {
    const std::lock_guard guard(hub_->lock);
    // A sandbox may not take the places of others.
    if (hub_->inner[sandbox_id] >= inner_most) {
      hub_->turned_away.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    ++hub_->inner[sandbox_id];
    id = hub_->next_id++;
    hub_->live.emplace(id, conn);
  }
  hub_->connections.fetch_add(1);
  hub_->inner_connections.fetch_add(1);
  const auto ended = [h = hub_, id, conn, sandbox_id](std::exception_ptr) {
    conn->shut();
    {
      const std::lock_guard guard(h->lock);
      h->live.erase(id);
      if (--h->inner[sandbox_id] == 0) h->inner.erase(sandbox_id);
    }
    h->inner_connections.fetch_sub(1);
    h->connections.fetch_sub(1);
  };
  asio::co_spawn(on, conn->run(), asio::bind_cancellation_slot(conn->cancel_signal().slot(), ended));
}

server_statistics server_impl::statistics() const {
  server_statistics s;
  s.connections = hub_->connections;
  s.exchanges = hub_->exchanges;
  s.accepted = hub_->accepted;
  s.requests = hub_->requests;
  s.refused = hub_->refused;
  s.turned_away = hub_->turned_away;
  return s;
}

result<void> server_impl::route(std::string host_suffix, std::string path_prefix, handler h) {
  if (!path_prefix.starts_with('/') || !h)
    return fail(errc::invalid_argument, "bad_route", "a route needs a path that begins with \"/\" and a handler",
                "Register \"/\" to take everything.");
  if (path_prefix.size() > 1 && path_prefix.ends_with('/')) path_prefix.pop_back();
  const std::lock_guard guard(hub_->lock);
  for (const auto& entry : *hub_->routes)
    if (entry.suffix == host_suffix && entry.prefix == path_prefix)
      return fail(errc::conflict, "route_taken", "another transport serves " + host_suffix + path_prefix,
                  "Configure one of them to another path.");
  auto changed = std::make_shared<std::vector<route_entry>>(*hub_->routes);
  changed->push_back({std::move(host_suffix), std::move(path_prefix), std::make_shared<const handler>(std::move(h))});
  hub_->routes = std::move(changed);
  return {};
}

void server_impl::unroute(std::string_view host_suffix, std::string_view path_prefix) {
  if (path_prefix.size() > 1 && path_prefix.ends_with('/')) path_prefix.remove_suffix(1);
  const std::lock_guard guard(hub_->lock);
  auto changed = std::make_shared<std::vector<route_entry>>(*hub_->routes);
  std::erase_if(*changed, [&](const auto& e) { return e.suffix == host_suffix && e.prefix == path_prefix; });
  hub_->routes = std::move(changed);
}

std::vector<std::string> server_impl::addresses() const {
  std::vector<std::string> all;
  const std::lock_guard guard(hub_->lock);
  if (!started_) return all;
  for (const auto& from : listeners_) all.push_back(from->url);
  return all;
}

}  // namespace

std::shared_ptr<server> server::make(asio::any_io_executor executor, server_options options) {
  return std::make_shared<server_impl>(std::move(executor), std::move(options));
}

}  // namespace caged::http
