// The REST transport: from a request to an operation and back. One per plugin; shared by all connections.
#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <caged/host.hpp>
#include <caged/http_front.hpp>
#include <caged/operation.hpp>
#include <chrono>
#include <list>
#include <mutex>

#include "limiter.hpp"
#include "metrics.hpp"
#include "router.hpp"

namespace caged::rest {

struct service_options {
  std::size_t json_body_bytes = 1u << 20;
  std::size_t websocket_message_bytes = 1u << 20;
  std::chrono::milliseconds keep_alive{15'000};
  int requests_per_minute = 0;
  std::string version;
};

// One request on its way: what the steps between head and answer pass on.
struct request_context {
  std::shared_ptr<http::exchange> exchange;
  std::string id;                   // X-Request-Id
  const operation_info* operation = nullptr;
  path_parameters parameters;
  caller who;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  std::string route = "none";       // for the metrics
  http::headers extra;              // for every answer: request id, rate limits
  int status = 0;                   // that was answered
};
using context_ptr = std::shared_ptr<request_context>;

// A live stream or socket that is to end when the host drains. The timer never fires; cancelling it is the signal.
struct stream_gate {
  explicit stream_gate(asio::any_io_executor on) : signal(on, asio::steady_timer::time_point::max()) {}
  asio::steady_timer signal;
  std::atomic<bool> closed{false};
};

// Shared ownership: a request keeps the service alive. Thread-safe after start().
class service : public std::enable_shared_from_this<service> {
 public:
  service(operations& ops, http::front& front, service_options options,
          std::function<void(log_level, std::string)> log);

  // Reads the registry: routes and the OpenAPI document. To be called when all plugins are open.
  result<void> start();
  // Ends streams that can be resumed and WebSockets; other requests go on.
  void drain();

  // The handler for the front.
  static asio::awaitable<void> handle(std::shared_ptr<service> self, std::shared_ptr<http::exchange> exchange);

 private:
  // service.cpp: the road of a request
  task<void> answer(context_ptr c);
  bool own_route(const context_ptr& c) const;
  task<void> check_caller(context_ptr c);
  task<json> read_arguments(context_ptr c, std::shared_ptr<call> into);
  task<void> run_operation(context_ptr c);
  task<reply> invoke_watched(context_ptr c, call work);

  // answer.cpp
  task<void> send(context_ptr c, http::response r);
  task<void> send_error(context_ptr c, error e, int status);
  task<void> send_document(context_ptr c, reply r);
  task<void> send_bytes(context_ptr c, reply r);
  int status_of(const error& e) const;

  // stream.cpp
  task<void> send_items(context_ptr c, reply r);
  asio::awaitable<void> pump_items(context_ptr c, std::shared_ptr<item_source> items,
                                   std::shared_ptr<stream_gate> gate);
  std::shared_ptr<stream_gate> open_gate(asio::any_io_executor on);

  // socket.cpp
  task<void> run_socket(context_ptr c, call work);

  // own_routes.cpp
  task<void> answer_own(context_ptr c);
  task<std::string> metrics_text(context_ptr c);

  operations& operations_;
  http::front& front_;
  const service_options options_;
  const std::function<void(log_level, std::string)> log_;
  router router_;
  std::string openapi_;
  std::string openapi_etag_;
  request_metrics metrics_;
  limiter limiter_;
  std::atomic<bool> draining_{false};
  std::atomic<int> streams_{0};
  std::mutex gates_lock_;
  std::list<std::weak_ptr<stream_gate>> gates_;
};

}  // namespace caged::rest
