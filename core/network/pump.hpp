// Moves bytes from one socket to another inside the kernel (splice), counted and held to a rate.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caged/owned_fd.hpp>
#include <caged/task.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace caged::network {

using tcp = boost::asio::ip::tcp;

// Pipes that hold bytes between two sockets. A flow borrows one only while bytes are in it: idle flows cost none.
class pipe_pool {
 public:
  struct pair {
    owned_fd read, write;
  };
  result<pair> take();
  void give(pair p);  // empty ones only

 private:
  std::vector<pair> free_;
};

// A rate shared by the flows of one sandbox. On one executor.
class byte_rate {
 public:
  void set(std::uint64_t bytes_per_second) noexcept;
  // How long whoever moved `bytes` has to wait before the next; zero without a limit.
  std::chrono::steady_clock::duration charge(std::uint64_t bytes) noexcept;

 private:
  std::uint64_t rate_ = 0;
  std::chrono::steady_clock::time_point free_at_{};
};

// What one direction of a flow works with. All of it outlives the pump.
struct direction {
  tcp::socket* from = nullptr;
  tcp::socket* to = nullptr;
  std::uint64_t* moved = nullptr;
  pipe_pool* pipes = nullptr;
  byte_rate* rate = nullptr;
  // Called after each piece; false ends the direction (a limit was reached, the flow was cut).
  std::function<bool()> go_on;
  std::function<void()> before;  // called when bytes may be there, before they are taken; may be empty
};

// Until the end of `from`, which it passes on by shutting `to`'s sending side, or until either fails.
asio::awaitable<void> pump(direction d);

// Sends all of it; false when the socket takes no more.
asio::awaitable<bool> send_all(tcp::socket& to, std::string_view bytes);

// Waits out what charge() said, in the coroutine's own time.
asio::awaitable<void> wait_for(std::chrono::steady_clock::duration time);

}  // namespace caged::network
