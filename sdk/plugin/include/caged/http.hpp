// The HTTP front: one port shared by several transports, routes by host and path. HTTP/1.1, server side.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <caged/byte_stream.hpp>
#include <caged/streams.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace caged::http {

using headers = std::vector<std::pair<std::string, std::string>>;

// The head of a request. Header names are lower case; a header given twice appears twice.
struct request {
  std::string method;
  std::string target;     // as sent: raw path and query
  std::string path;       // raw (still percent-encoded), without the query
  std::vector<std::string> segments;                        // of the path, each percent-decoded once
  std::vector<std::pair<std::string, std::string>> query;   // decoded ('+' is a blank)
  std::string host;       // lower case, without the port
  headers fields;
  std::string remote;     // peer address, for the log
  bool secure = false;    // came over TLS
  std::string sandbox_id;  // of the sandbox from inside which it came; "" = from outside

  // First value of a header, "" when absent; the name in lower case.
  std::string_view field(std::string_view name) const noexcept;
};

struct response {
  int status = 200;
  headers fields;
  std::string body;
};

// One message of a WebSocket, and the socket itself. read() and write() may be awaited at the same time, each by one
// coroutine; write() is queued in order.
class websocket : public duplex {
 public:
  // Sends a close frame and waits for the other side, at most one second.
  virtual asio::awaitable<void> close(std::uint16_t code, std::string reason) = 0;
};

// One request being answered. A handler answers exactly once: respond(), or start()+write()…+finish(), or
// accept_websocket(), or upgrade(). A handler that returns without answering, or throws, makes the front answer 500.
class exchange {
 public:
  virtual ~exchange() = default;
  virtual const request& head() const noexcept = 0;

  // The request body, pulled. Chunked and sized alike. Errors: too_large beyond the front's limit, cancelled when the
  // client vanished, deadline_exceeded when it stalls.
  virtual std::shared_ptr<byte_source> body() = 0;
  // The whole body; too_large beyond `limit` bytes.
  virtual task<std::string> read_body(std::size_t limit) = 0;

  // Each of these fails with `cancelled` when the client is gone; the handler then just returns.
  virtual task<void> respond(response r) = 0;
  // A streamed answer: chunked unless Content-Length is among the fields. write() waits for the socket: backpressure.
  virtual task<void> start(int status, headers fields) = 0;
  virtual task<void> write(std::string piece) = 0;
  virtual task<void> finish() = 0;

  virtual bool wants_websocket() const noexcept = 0;
  // Completes the handshake. `subprotocol` "" = none is echoed.
  virtual task<std::shared_ptr<websocket>> accept_websocket(std::string subprotocol, std::size_t max_message) = 0;

  // Completes when the client has gone away (for handlers that wait for something else meanwhile).
  virtual asio::awaitable<void> wait_closed() = 0;

  // Answers 101 with these fields and hands the connection over as bytes, for a protocol that the handler passes on.
  virtual task<std::shared_ptr<byte_stream>> upgrade(headers fields) = 0;
};

// Runs on the connection's strand. The exchange outlives the coroutine.
using handler = std::function<asio::awaitable<void>(std::shared_ptr<exchange>)>;

struct limits {
  std::size_t header_bytes = 16 * 1024;
  std::uint64_t body_bytes = 0;  // 0 = no limit for streamed bodies; read_body() has its own
  std::size_t connections = 4096;
  std::chrono::seconds header_time{10};  // from accept or the last answer's first new byte to the whole head
  std::chrono::seconds idle_time{75};  // keep-alive
  std::chrono::seconds stall_time{30};  // one read or write of a body that makes no progress
};

// Service of the host.
class front {
 public:
  static constexpr std::string_view interface_name = "caged.http_front.v1";
  virtual ~front() = default;

  // Longest path prefix wins, on whole segments ("/v1" takes "/v1/x", not "/v1x"); "/" takes everything, a segment "*"
  // any one segment. `host_suffix` "" = the server's own names (loopback names, the listen address, configured names);
  // otherwise that host and "*.suffix". A request whose Host matches nothing gets 403: that is the guard against DNS
  // rebinding.
  virtual result<void> route(std::string host_suffix, std::string path_prefix, handler h) = 0;
  // Takes out what route() put in.
  virtual void unroute(std::string_view host_suffix, std::string_view path_prefix) = 0;

  // The addresses it listens on, "http://127.0.0.1:8080"; empty before the host serves.
  virtual std::vector<std::string> addresses() const = 0;
  // Whether a browser page of this origin ("http://localhost:8080") may talk to us; absent origins are fine.
  virtual bool origin_allowed(std::string_view origin, std::string_view request_host) const = 0;
};

}  // namespace caged::http
