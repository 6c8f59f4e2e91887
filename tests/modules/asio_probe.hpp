// What the Asio module lets a test try on its side of the .so.
#pragma once

#include <boost/asio/strand.hpp>
#include <caged/task.hpp>
#include <string>

namespace caged::modules {

class asio_probe {
 public:
  static constexpr std::string_view interface_name = "caged.test.asio_probe.v1";
  virtual ~asio_probe() = default;

  // Tries one thing; an error says what went otherwise than in one program. `on` is a strand the host made.
  virtual task<void> try_timer() = 0;
  virtual task<void> try_sockets() = 0;
  virtual task<void> try_own_strand() = 0;
  virtual task<void> try_host_strand(asio::strand<asio::any_io_executor> on) = 0;
  virtual task<void> try_executor_identity(asio::any_io_executor same) = 0;
  virtual task<void> try_cancellation_inside() = 0;
  virtual task<void> try_race() = 0;
  virtual task<void> try_blocking_pool() = 0;
  // Waits until the host cancels it; then succeeds.
  virtual task<void> wait_for_cancellation() = 0;
  // Throws boost::system::system_error(connection_refused).
  virtual task<void> throw_system_error() = 0;
  // Called by the host on the strand, without a coroutine: whether this side sees itself on it.
  virtual bool on_strand(const asio::strand<asio::any_io_executor>& on) noexcept = 0;
};

}  // namespace caged::modules
