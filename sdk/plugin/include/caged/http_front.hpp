// How a host makes, starts and ends the HTTP front; and the problem documents all transports answer with.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <caged/host.hpp>
#include <caged/http.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace caged::http {

struct server_options {
  limits bounds;
  std::vector<std::string> names;    // further host names that are ours, "caged.example.org"
  std::vector<std::string> origins;  // further browser origins that may talk to us, "https://dash.example.org"
  std::function<void(log_level, std::string)> log;  // may be called from any thread; empty = silent
};

struct server_statistics {
  std::size_t connections = 0;         // open now
  std::size_t exchanges = 0;           // requests being answered now, WebSockets and streams included
  std::uint64_t accepted = 0;          // connections since the start
  std::uint64_t requests = 0;          // heads read and handed to a handler
  std::uint64_t refused = 0;           // answered by the front itself: malformed, too large, too slow, unknown host
  std::uint64_t turned_away = 0;       // connections over the limit
};

// The front itself. Thread-safe. Order of a host's life:
//   make → listen (binds at once, so that a taken port is known early) → transports open and route → start
//   → transports drain → drain → stop → transports close.
class server : public front {
 public:
  static std::shared_ptr<server> make(asio::any_io_executor executor, server_options options);

  // Binds and returns the address as a URL. `address` is an IP literal or "localhost"; port 0 takes a free one. Errors:
  // invalid_argument, conflict ("address_in_use"), permission_denied. May be called several times.
  virtual result<std::string> listen(std::string address, std::uint16_t port) = 0;
  // Begins to accept on everything that listens, now and later.
  virtual void start() = 0;
  // Accepts nothing new, closes idle connections at once, lets running requests finish; completes when all are done or
  // `grace` has passed (deadline_exceeded, with the number of those that still run).
  virtual task<void> drain(std::chrono::milliseconds grace) = 0;
  // Cuts whatever is left and waits (at most 5 s) until every connection's coroutine has ended.
  virtual asio::awaitable<void> stop() = 0;

  virtual server_statistics statistics() const = 0;

  // Whether a transport serves this host by suffix ("llm.caged.internal").
  virtual bool serves(std::string_view host) const = 0;
  // Takes over a connection from inside a sandbox, with what was read of it already. It reaches hosts under
  // caged.internal that are served by suffix and nothing else of this server; requests carry the sandbox's id.
  virtual void adopt(asio::ip::tcp::socket socket, std::string already_read, std::string sandbox_id) = 0;
};

// {type,title,status,detail,reason{code,message,action,path?}} of RFC 7807. `status` 0 = by the class of the error.
json problem_document(const error& e, int status = 0);
// The same as an answer of type application/problem+json.
response problem_response(const error& e, int status = 0);
// "Not Found" for 404; "Unknown" for codes without a name.
std::string_view status_phrase(int status) noexcept;

}  // namespace caged::http
