#include "core/network/pump.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "core/runtime/deadline.hpp"

namespace caged::network {
namespace {

constexpr int pipe_bytes = 1 << 20;
constexpr std::size_t most_free = 64;
// A flow that always has bytes lets others run after so many pieces.
constexpr int turn = 16;

// Awaits one side; false when the direction is over.
asio::awaitable<bool> ready(tcp::socket& s, tcp::socket::wait_type what) {
  if (!s.is_open()) co_return false;
  auto [ec] = co_await s.async_wait(what, use_tuple);
  co_return !ec && s.is_open();
}

// Empties the pipe into the socket.
asio::awaitable<bool> drain(direction& d, const pipe_pool::pair& pipe, std::size_t left) {
  while (left > 0) {
    const ssize_t n =
        ::splice(pipe.read.get(), nullptr, d.to->native_handle(), nullptr, left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
      left -= static_cast<std::size_t>(n);
      *d.moved += static_cast<std::uint64_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) co_return false;
    const bool goes = co_await ready(*d.to, tcp::socket::wait_write);
    if (!goes) co_return false;
  }
  co_return true;
}

}  // namespace

result<pipe_pool::pair> pipe_pool::take() {
  if (!free_.empty()) {
    pair p = std::move(free_.back());
    free_.pop_back();
    return p;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errno_error(errno, "make a pipe");
  pair p;
  p.read.reset(ends[0]);
  p.write.reset(ends[1]);
  // Fewer, larger moves; where the kernel refuses, the usual size does.
  (void)::fcntl(ends[1], F_SETPIPE_SZ, pipe_bytes);
  return p;
}

void pipe_pool::give(pair p) {
  if (free_.size() < most_free) free_.push_back(std::move(p));
}

void byte_rate::set(std::uint64_t bytes_per_second) noexcept {
  rate_ = bytes_per_second;
  free_at_ = {};
}

std::chrono::steady_clock::duration byte_rate::charge(std::uint64_t bytes) noexcept {
  using namespace std::chrono_literals;
  if (rate_ == 0) return 0s;
  const auto now = std::chrono::steady_clock::now();
  // A tenth of a second may be saved up: bursts of that length pass unhindered.
  if (free_at_ < now - 100ms) free_at_ = now - 100ms;
  free_at_ += std::chrono::nanoseconds(
      static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(rate_)));
  return free_at_ > now ? free_at_ - now : std::chrono::steady_clock::duration(0s);
}

asio::awaitable<void> wait_for(std::chrono::steady_clock::duration time) {
  if (time > std::chrono::steady_clock::duration::zero()) co_await runtime::sleep_for(time);
}

asio::awaitable<bool> send_all(tcp::socket& to, std::string_view bytes) {
  while (!bytes.empty()) {
    auto [ec, n] = co_await to.async_write_some(asio::buffer(bytes), use_tuple);
    if (ec) co_return false;
    bytes.remove_prefix(n);
  }
  co_return true;
}

asio::awaitable<void> pump(direction d) {
  int pieces = 0;
  while (d.from->is_open() && d.to->is_open()) {
    auto pipe = d.pipes->take();
    if (!pipe) co_return;
    if (d.before) d.before();
    const ssize_t n = ::splice(d.from->native_handle(), nullptr, pipe->write.get(), nullptr, pipe_bytes,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    const int err = errno;
    if (n <= 0) d.pipes->give(std::move(*pipe));
    if (n < 0 && err == EINTR) continue;
    if (n < 0 && err == EAGAIN) {
      const bool goes = co_await ready(*d.from, tcp::socket::wait_read);
      if (!goes) co_return;
      pieces = 0;
      continue;
    }
    if (n < 0) co_return;
    if (n == 0) {
      boost::system::error_code ignored;
      d.to->shutdown(tcp::socket::shutdown_send, ignored);
      co_return;
    }
    const bool sent = co_await drain(d, *pipe, static_cast<std::size_t>(n));
    if (!sent) co_return;  // the pipe may hold bytes: it is closed, not given back
    d.pipes->give(std::move(*pipe));
    if (!d.go_on()) co_return;
    co_await wait_for(d.rate->charge(static_cast<std::uint64_t>(n)));
    if (++pieces % turn == 0) co_await asio::post(asio::use_awaitable);
  }
}

}  // namespace caged::network
