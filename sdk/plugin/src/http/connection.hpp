// One accepted connection: its socket, its deadlines and its loop over requests. Everything runs on its strand.
#pragma once

#include <atomic>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <caged/http_front.hpp>
#include <map>
#include <mutex>

#include "head.hpp"
#include "names.hpp"

namespace caged::http {

using tcp = asio::ip::tcp;
using strand = asio::strand<asio::any_io_executor>;
using clock = std::chrono::steady_clock;
using error_code = boost::system::error_code;

class connection;
class http_exchange;

// What all connections of a server share. Thread-safe.
struct hub {
  asio::any_io_executor executor;
  server_options options;
  own_names names;

  mutable std::mutex lock;  // for what follows, up to the blank line
  std::shared_ptr<const std::vector<route_entry>> routes = std::make_shared<std::vector<route_entry>>();
  std::map<std::uint64_t, std::weak_ptr<connection>> live;
  std::uint64_t next_id = 1;
  std::map<std::string, std::size_t> inner;  // connections from inside each sandbox

  std::atomic<bool> draining{false};
  std::atomic<std::size_t> connections{0}, exchanges{0}, inner_connections{0};
  std::atomic<std::uint64_t> accepted{0}, requests{0}, refused{0}, turned_away{0};

  void log(log_level level, std::string message) const {
    if (options.log) options.log(level, std::move(message));
  }
};

enum class io_end : std::uint8_t { ok = 1, closed, timeout };

class connection : public std::enable_shared_from_this<connection> {
 public:
  connection(std::shared_ptr<hub> h, tcp::socket socket, strand s, std::string already_read = {},
             std::string sandbox_id = {});

  // The whole life: requests until either side closes. The socket is closed on return.
  asio::awaitable<void> run();
  // Answers 503 and closes; for connections over the limit.
  asio::awaitable<void> turn_away();

  // From any thread.
  void close_if_idle();
  void abort();

  // The rest is for exchanges and WebSockets, on the strand.
  const strand& executor() const noexcept { return strand_; }
  const limits& bounds() const noexcept { return hub_->options.bounds; }
  hub& shared() noexcept { return *hub_; }
  tcp::socket& socket() noexcept { return socket_; }
  asio::cancellation_signal& cancel_signal() noexcept { return cancel_; }
  bool gone() const noexcept { return gone_; }

  // Appends what comes, at most `max` bytes.
  asio::awaitable<io_end> read_some(std::string& into, std::size_t max, clock::time_point deadline);
  // Sends both; false when the client is gone or takes nothing for stall_time. The views must outlive the call.
  asio::awaitable<bool> send(std::string_view first, std::string_view second);
  // Completes when the client has gone, or on cancellation. Reads ahead only when `may_read` holds.
  asio::awaitable<void> wait_gone(std::shared_ptr<http_exchange> during);
  // Closes the socket at once; pending operations end.
  void shut() noexcept;
  void set_write_deadline(clock::time_point when);

  std::string& input() noexcept { return in_; }

 private:
  asio::awaitable<bool> read_head(parsed_head& out);
  asio::awaitable<void> serve(parsed_head head);
  asio::awaitable<void> refuse(int status, std::string reason, std::string message, std::string action);
  asio::awaitable<void> linger();
  bool peer_closed() const noexcept;
  void arm();
  void on_timer();

  std::shared_ptr<hub> hub_;
  strand strand_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  asio::cancellation_signal cancel_;
  clock::time_point read_deadline_ = clock::time_point::max();
  clock::time_point write_deadline_ = clock::time_point::max();
  clock::time_point timer_wakes_ = clock::time_point::max();
  std::string in_;          // read and not yet used
  std::string remote_, local_;
  std::string sandbox_id_;  // "" = from outside
  bool gone_ = false;       // nothing more can be read or written
  bool read_late_ = false;  // the read that just ended was ended by its deadline
  bool reading_ = false;
  bool idle_ = false;       // between requests
  bool keep_ = true;
  bool first_ = true;
};

// The Date header's value now.
std::string http_date();

// Runs `work` on the strand, wherever the caller runs.
template <class T>
asio::awaitable<T> on_strand(strand s, asio::awaitable<T> work) {
  if (s.running_in_this_thread()) co_return co_await std::move(work);
  co_return co_await asio::co_spawn(s, std::move(work), asio::use_awaitable);
}

}  // namespace caged::http
