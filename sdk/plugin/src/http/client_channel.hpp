// A blocking byte channel of the client (TCP, TLS or Unix socket) whose every wait has a deadline and can be cancelled.
#pragma once

#include <caged/http_client.hpp>

#include <atomic>
#include <mutex>
#include <span>

struct ssl_st;
struct ssl_ctx_st;

namespace caged::http {

// A base URL taken apart.
struct client_target {
  enum class kind : std::uint8_t { unset = 0, tcp, tls, local } how = kind::tcp;
  std::string host;  // to connect to; for local the path of the socket
  std::string port;
  std::string authority;  // the Host header
  std::string prefix;  // path before every target, without a slash at its end
};
result<client_target> parse_base_url(std::string_view url);

// Nonblocking underneath; one thread may read while another writes.
class channel {
 public:
  using ms = std::chrono::milliseconds;
  static result<std::unique_ptr<channel>> connect(const client_target& to, const client_options& options);
  ~channel();
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  // At least one byte; 0 = the other side closed. `wait` 0 = for ever. After deadline_exceeded it stays usable.
  result<std::size_t> read(std::span<char> into, ms wait);
  result<void> write(std::string_view bytes, ms wait);
  // Whether a read would not wait (data, or the other side closed).
  bool readable() const noexcept;
  void interrupt() noexcept;
  bool interrupted() const noexcept { return interrupted_.load(); }
  int descriptor() const noexcept { return fd_; }

 private:
  channel(int fd, int cancel_fd) : fd_(fd), cancel_fd_(cancel_fd) {}
  result<void> wait(short events, ms longest) const;
  result<void> start_tls(const client_target& to, const client_options& options);
  // One attempt; sets `events` to what must be waited for when it would block.
  std::ptrdiff_t try_read(std::span<char> into, short& events);
  std::ptrdiff_t try_write(std::string_view bytes, short& events);

  int fd_ = -1;
  int cancel_fd_ = -1;
  ssl_st* ssl_ = nullptr;
  ssl_ctx_st* context_ = nullptr;
  std::mutex ssl_lock_;  // OpenSSL allows one call at a time per connection
  std::atomic<bool> interrupted_{false};
};

// A connection together with what was read ahead, and the body of the answer that is being read from it.
struct client_link {
  std::unique_ptr<channel> wire;
  std::string in;
  bool used = false;  // has served a request before

  // Reads more into `in`; false = the other side closed.
  result<bool> fill(std::chrono::milliseconds wait);
};

}  // namespace caged::http
