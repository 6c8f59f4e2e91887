// MCP over HTTP: Streamable HTTP for both eras and the WebSocket with subprotocol "mcp", on the shared front.
#pragma once

#include <caged/host.hpp>
#include <caged/http.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <caged/mcp/dialog.hpp>

namespace caged::mcp {

struct lane;
struct http_session;

struct front_options {
  std::size_t message_bytes = 16u << 20;
  std::size_t sessions = 1024;
  std::chrono::milliseconds keep_alive{15'000};    // between signs of life on a silent stream
  std::chrono::milliseconds patience{5'000};       // before a silent answer becomes a stream
  std::chrono::seconds session_idle{3600};
};

// Says who asks, by the credential ("" = none was sent) and the head of the request, and what they get to see. Errors:
// unauthenticated → 401, permission_denied → 403, anything else by its class. `surroundings::principal` is the identity
// that sessions, tasks and seals are bound to.
using admission = std::function<task<surroundings>(std::string credential, http::request head)>;

// All methods and coroutines run on the host's loop thread. Shared ownership: a request keeps the service alive.
class front_service : public std::enable_shared_from_this<front_service> {
 public:
  front_service(asio::any_io_executor executor, http::front& front, front_options options, admission admit);
  // One request, whichever kind.
  static asio::awaitable<void> handle(std::shared_ptr<front_service> self, std::shared_ptr<http::exchange> exchange);
  // Ends sessions and streams; calls under way are cancelled.
  void close();
  std::size_t sessions() const noexcept { return sessions_.size(); }

 private:
  using exchange_ptr = std::shared_ptr<http::exchange>;
  asio::awaitable<void> answer(exchange_ptr exchange);
  asio::awaitable<void> post(exchange_ptr exchange, surroundings in);
  asio::awaitable<void> get(exchange_ptr exchange, surroundings in);
  asio::awaitable<void> remove(exchange_ptr exchange, surroundings in);
  asio::awaitable<void> socket(exchange_ptr exchange, surroundings in);
  asio::awaitable<void> run(exchange_ptr exchange, std::shared_ptr<dialog> d, std::shared_ptr<lane> l, json message,
                            std::string session_id);
  asio::awaitable<void> stream(exchange_ptr exchange, std::shared_ptr<lane> l, std::uint64_t after,
                               http::headers extra);
  // The session of this principal that the request names; an answer to send instead where there is none.
  struct found {
    std::shared_ptr<http_session> session;
    http::response refusal;
  };
  found find_session(const http::request& head, const std::string& principal);
  std::shared_ptr<http_session> make_session(surroundings in);
  void forget_idle();

  asio::any_io_executor executor_;
  http::front& front_;
  const front_options options_;
  const admission admit_;
  std::map<std::string, std::shared_ptr<http_session>> sessions_;
  std::vector<std::weak_ptr<dialog>> open_;  // outside sessions
  bool closed_ = false;
};

}  // namespace caged::mcp
