// A front on a free port with its own threads, and raw sockets to attack it with.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <caged/http_client.hpp>
#include <caged/http_front.hpp>
#include <chrono>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace caged::http::testing {

using namespace std::chrono_literals;

// An executor with two threads: what is right only on one would fail here.
class machine {
 public:
  machine() {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { context_.run(); });
  }
  ~machine() {
    work_.reset();
    for (auto& t : threads_) t.join();
  }
  asio::any_io_executor executor() { return context_.get_executor(); }
  template <class T>
  T wait(asio::awaitable<T> work) {
    return asio::co_spawn(context_, std::move(work), asio::use_future).get();
  }
  void wait(asio::awaitable<void> work) { asio::co_spawn(context_, std::move(work), asio::use_future).get(); }

 private:
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(context_);
  std::vector<std::thread> threads_;
};

inline limits short_limits() {
  limits l;
  l.header_time = 1s;
  l.idle_time = 2s;
  l.stall_time = 1s;
  return l;
}

class front_fixture : public ::testing::Test {
 protected:
  front_fixture() : front_fixture(short_limits()) {}
  explicit front_fixture(limits l) {
    server_options options;
    options.bounds = l;
    options.names = {"caged.example.org"};
    options.origins = {"https://dash.example.org"};
    front_ = server::make(machine_.executor(), std::move(options));
    url_ = front_->listen("127.0.0.1", 0).value();
    port_ = static_cast<std::uint16_t>(std::stoi(url_.substr(url_.rfind(':') + 1)));
    front_->start();
  }
  ~front_fixture() override {
    machine_.wait(front_->stop());
    EXPECT_EQ(front_->statistics().connections, 0u) << "a connection outlived the server";
  }
  client make_client() {
    client_options options;
    options.base_url = url_;
    return client::make(std::move(options)).value();
  }

  machine machine_;
  std::shared_ptr<server> front_;
  std::string url_;
  std::uint16_t port_ = 0;
};

// A TCP connection that says exactly what it is told to.
class raw_socket {
 public:
  explicit raw_socket(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  ~raw_socket() { close_now(); }
  raw_socket(const raw_socket&) = delete;
  raw_socket& operator=(const raw_socket&) = delete;

  bool send(std::string_view text) {
    while (!text.empty()) {
      const auto n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Reads until `until` occurs, the other side closes, or the time is over.
  std::string read_until(std::string_view until, std::chrono::milliseconds longest = 5s) {
    const auto deadline = std::chrono::steady_clock::now() + longest;
    std::string text;
    while (until.empty() || text.find(until) == std::string::npos) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd one{fd_, POLLIN, 0};
      if (left <= 0 || poll(&one, 1, static_cast<int>(left)) <= 0) {
        timed_out_ = true;
        break;
      }
      char piece[4096];
      const auto n = recv(fd_, piece, sizeof piece, 0);
      if (n <= 0) {
        closed_ = true;
        break;
      }
      text.append(piece, static_cast<std::size_t>(n));
    }
    return text;
  }
  // Everything until the server closes.
  std::string read_all(std::chrono::milliseconds longest = 5s) { return read_until("", longest); }
  bool closed() const { return closed_; }
  bool timed_out() const { return timed_out_; }
  int fd() const { return fd_; }
  void close_now() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // The next close sends a reset.
  void reset_on_close() {
    const linger how{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &how, sizeof how);
  }

 private:
  int fd_;
  bool closed_ = false, timed_out_ = false;
};

template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds longest = 3s) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

}  // namespace caged::http::testing
