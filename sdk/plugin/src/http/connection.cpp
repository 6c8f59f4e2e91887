#include "connection.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <boost/asio/write.hpp>

#include <array>
#include <ctime>

#include "exchange.hpp"

namespace caged::http {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t read_size = 16 * 1024;
constexpr std::size_t read_ahead = 64 * 1024;
constexpr std::string_view inner_suffix = ".caged.internal";

std::string address_text(const tcp::endpoint& endpoint) {
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return address.to_string();
}

// Resets a flag of the connection also when the coroutine is cancelled.
struct flag_guard {
  explicit flag_guard(bool& f) : flag(f) { flag = true; }
  ~flag_guard() { flag = false; }
  bool& flag;
};

}  // namespace

std::string http_date() {
  static thread_local std::time_t known = 0;
  static thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != known) {
    std::array<char, 40> buffer{};
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::strftime(buffer.data(), buffer.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    text = buffer.data();
    known = now;
  }
  return text;
}

connection::connection(std::shared_ptr<hub> h, tcp::socket socket, strand s, std::string already_read,
                       std::string sandbox_id)
    : hub_(std::move(h)),
      strand_(std::move(s)),
      socket_(std::move(socket)),
      timer_(strand_),
      in_(std::move(already_read)),
      sandbox_id_(std::move(sandbox_id)) {
  error_code ec;
  remote_ = address_text(socket_.remote_endpoint(ec));
  local_ = address_text(socket_.local_endpoint(ec));
  socket_.set_option(tcp::no_delay(true), ec);
}

void connection::arm() {
  const auto next = std::min(read_deadline_, write_deadline_);
  // A timer that wakes too early looks again; moving it on every read would cost more than that.
  if (next >= timer_wakes_) return;
  timer_wakes_ = next;
  timer_.expires_at(next);
  timer_.async_wait([weak = weak_from_this()](error_code ec) {
    if (ec) return;
    if (const auto self = weak.lock()) self->on_timer();
  });
}

void connection::on_timer() {
  timer_wakes_ = clock::time_point::max();
  const auto now = clock::now();
  if (write_deadline_ <= now) {
    shut();
    return;
  }
  if (read_deadline_ <= now) {
    read_deadline_ = clock::time_point::max();
    read_late_ = true;
    error_code ec;
    socket_.cancel(ec);
  }
  arm();
}

void connection::set_write_deadline(clock::time_point when) {
  write_deadline_ = when;
  if (when != clock::time_point::max()) arm();
}

void connection::shut() noexcept {
  gone_ = true;
  error_code ec;
  socket_.close(ec);
  read_deadline_ = write_deadline_ = clock::time_point::max();
  timer_.cancel();
}

void connection::close_if_idle() {
  asio::post(strand_, [self = shared_from_this()] {
    if (self->idle_) self->shut();
  });
}

void connection::abort() {
  asio::post(strand_, [self = shared_from_this()] {
    self->shut();
    self->cancel_.emit(asio::cancellation_type::terminal);
  });
}

asio::awaitable<io_end> connection::read_some(std::string& into, std::size_t max, clock::time_point deadline) {
  if (gone_) co_return io_end::closed;
  const std::size_t before = into.size();
  into.resize(before + max);
  read_late_ = false;
  read_deadline_ = deadline;
  arm();
  const auto [ec, n] = co_await socket_.async_read_some(asio::buffer(into.data() + before, max), use_tuple);
  read_deadline_ = clock::time_point::max();
  into.resize(before + n);
  if (!ec) co_return io_end::ok;
  if (ec == asio::error::operation_aborted && !gone_) {
    // Ended by its deadline, or by the cancellation of this coroutine alone: the connection itself is whole.
    co_return io_end::timeout;
  }
  gone_ = true;
  co_return io_end::closed;
}

asio::awaitable<bool> connection::send(std::string_view first, std::string_view second) {
  while (!gone_ && first.size() + second.size() > 0) {
    set_write_deadline(clock::now() + bounds().stall_time);
    const std::array<asio::const_buffer, 2> pieces{asio::buffer(first), asio::buffer(second)};
    const auto [ec, n] = co_await socket_.async_write_some(pieces, use_tuple);
    // Any end in the middle leaves the other side with half a message, so nothing more can be said on this socket.
    if (ec) shut();
    const std::size_t of_first = std::min(n, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(n - of_first);
  }
  write_deadline_ = clock::time_point::max();
  co_return !gone_;
}

bool connection::peer_closed() const noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  const int fd = const_cast<tcp::socket&>(socket_).native_handle();
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  return info.tcpi_state != TCP_ESTABLISHED;
}

asio::awaitable<void> connection::wait_gone(std::shared_ptr<http_exchange> during) {
  asio::steady_timer pause(strand_);
  while (!gone_) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    if (!reading_ && during->body_done() && !during->upgraded() && in_.size() < read_ahead) {
      flag_guard guard(reading_);
      co_await read_some(in_, 4096, clock::time_point::max());
    } else {
      // Somebody else reads, or enough was read ahead: the kernel knows the state of the connection all the same.
      pause.expires_after(250ms);
      co_await pause.async_wait(use_tuple);
      if (!gone_ && peer_closed()) co_return;
    }
  }
}

asio::awaitable<void> connection::refuse(int status, std::string reason, std::string message, std::string action) {
  hub_->refused.fetch_add(1, std::memory_order_relaxed);
  const error e = fail(errc::invalid_argument, std::move(reason), std::move(message), std::move(action));
  const response r = problem_response(e, status);
  std::string head = "HTTP/1.1 " + std::to_string(status) + " " + std::string(status_phrase(status)) + "\r\n";
  for (const auto& [name, value] : r.fields) head += name + ": " + value + "\r\n";
  head +=
      "Date: " + http_date() + "\r\nContent-Length: " + std::to_string(r.body.size()) + "\r\nConnection: close\r\n\r\n";
  keep_ = false;
  co_await send(head, r.body);
}

asio::awaitable<bool> connection::read_head(parsed_head& out) {
  const auto& most = bounds();
  std::size_t scanned = 0;
  auto deadline = clock::now() + (first_ || !in_.empty() ? most.header_time : most.idle_time);
  bool begun = first_ || !in_.empty();
  while (true) {
    const auto state = scan_head(in_, scanned);
    if (state == scan_state::bare_line_feed) {
      co_await refuse(400, "bare_line_ending", "a line of the request head ends with LF alone",
                      "End every line of the head with CR LF.");
      co_return false;
    }
    if (scanned > most.header_bytes) {
      co_await refuse(431, "head_too_large",
                      "the request head is longer than " + std::to_string(most.header_bytes) + " bytes",
                      "Send a shorter target and fewer, shorter headers.");
      co_return false;
    }
    if (state == scan_state::complete) break;
    idle_ = in_.empty();
    if (idle_ && hub_->draining) co_return false;
    const auto end = co_await read_some(in_, read_size, deadline);
    idle_ = false;
    if (end == io_end::timeout && !in_.empty())
      co_await refuse(408, "head_too_slow",
                      "the request head did not arrive within " + std::to_string(most.header_time.count()) + " s",
                      "Send the whole head at once.");
    if (end != io_end::ok) co_return false;
    if (!begun) deadline = clock::now() + most.header_time;
    begun = true;
  }
  auto parsed = parse_head(std::string_view(in_).substr(0, scanned));
  in_.erase(0, scanned);
  if (auto* refusal = std::get_if<head_refusal>(&parsed)) {
    const head_refusal why = std::move(*refusal);
    co_await refuse(why.status, why.reason, why.message, why.action);
    co_return false;
  }
  out = std::move(std::get<parsed_head>(parsed));
  out.head.remote = sandbox_id_.empty() ? remote_ : "sandbox " + sandbox_id_;
  out.head.sandbox_id = sandbox_id_;
  co_return true;
}

asio::awaitable<void> connection::serve(parsed_head head) {
  route_miss why{};
  // From inside a sandbox only the internal names lead anywhere: no key of the API may be tried from there.
  const bool inside = !sandbox_id_.empty();
  const bool ours = !inside && hub_->names.is_ours(head.head.host, local_);
  std::shared_ptr<const std::vector<route_entry>> routes;
  {
    const std::lock_guard guard(hub_->lock);
    routes = hub_->routes;
  }
  auto target = find_route(*routes, head.head.host, ours, head.head.path, why);
  if (inside && !head.head.host.ends_with(inner_suffix)) {
    target = nullptr;
    why = route_miss::unknown_host;
  }
  if (target == nullptr && why == route_miss::unknown_host) {
    co_await refuse(403, "unknown_host", "this server is not called \"" + head.head.host + "\"",
                    "Use the address it listens on, or add the name to the server's configuration.");
    co_return;
  }
  hub_->requests.fetch_add(1, std::memory_order_relaxed);
  hub_->exchanges.fetch_add(1);
  const bool star = head.head.path == "*";
  const std::string what = head.head.method + " " + head.head.path;
  const auto ex = std::make_shared<http_exchange>(shared_from_this(), std::move(head));
  bool threw = false;
  try {
    if (target != nullptr) {
      co_await (*target)(ex);
    } else {
      response r;
      if (star) {
        r.status = 204;
        r.fields.emplace_back("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
      } else {
        r = problem_response(fail(errc::not_found, "no_such_route", "nothing is served under " + what,
                                  "See /openapi.json for what there is."));
      }
      co_await ex->respond(std::move(r));
    }
  } catch (const std::exception& e) {
    threw = true;
    if (!gone_) hub_->log(log_level::error, "the handler of " + what + " threw: " + e.what());
  } catch (...) {
    threw = true;
    hub_->log(log_level::error, "the handler of " + what + " threw something that is no std::exception");
  }
  hub_->exchanges.fetch_sub(1);
  const bool may_stay = co_await ex->conclude(threw);
  keep_ = keep_ && may_stay;
}

asio::awaitable<void> connection::linger() {
  if (gone_) co_return;
  // Closing with unread bytes sends a reset, which can destroy the answer before the client has read it.
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  const auto deadline = clock::now() + 1s;
  std::string sink;
  for (std::size_t seen = 0; seen < (16u << 20);) {
    sink.clear();
    if (co_await read_some(sink, read_size, deadline) != io_end::ok) break;
    seen += sink.size();
  }
}

asio::awaitable<void> connection::run() {
  while (keep_ && !gone_ && !(hub_->draining && !first_)) {
    parsed_head head;
    if (!co_await read_head(head)) break;
    keep_ = head.keep_alive;
    first_ = false;
    co_await serve(std::move(head));
    if (in_.empty() && in_.capacity() > read_size) std::string().swap(in_);
  }
  co_await linger();
  shut();
}

asio::awaitable<void> connection::turn_away() {
  co_await refuse(503, "too_many_connections", "the server has as many connections as it takes",
                  "Try again in a moment.");
  co_await linger();
  shut();
}

}  // namespace caged::http
