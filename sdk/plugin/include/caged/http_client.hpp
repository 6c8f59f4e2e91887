// A small blocking HTTP/1.1 client (requests, live streams, WebSockets) for command-line programs and tests.
#pragma once

#include <caged/http.hpp>
#include <caged/json.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace caged::http {

// How a client reaches its server. There are no redirects: the key never travels to another host.
struct client_options {
  std::string base_url;   // "http://127.0.0.1:8080", "https://host/prefix", "unix:///run/caged.sock"
  std::string api_key;    // sent as "Authorization: Bearer …" when not empty
  std::string user_agent = "caged";
  std::string ca_file;    // https: trust these certificates instead of the system's
  std::chrono::milliseconds connect_timeout{5000};
  std::size_t max_body = 64u << 20;  // of answers read as a whole
  // A descriptor that becomes readable when every blocking call shall end with `cancelled` (a self-pipe fed by a signal
  // handler); -1 = none. Not owned, never read from.
  int cancel_fd = -1;
};

struct client_request {
  std::string method = "GET";
  std::string target;  // path and query, percent-encoded, "/v1/sandboxes"
  headers fields;
  std::string body;
  // Pulled instead of `body` when set: the next piece, "" = end. Sent chunked unless body_size is set.
  std::function<result<std::string>()> body_source;
  std::optional<std::uint64_t> body_size;
  std::chrono::milliseconds silence{30'000};  // no byte moved for so long: deadline_exceeded; 0 = wait for ever
};

// The head of an answer.
struct client_head {
  int status = 0;
  headers fields;  // names in lower case
  std::string_view field(std::string_view name) const noexcept;
  bool ok() const noexcept { return status >= 200 && status < 300; }
};

struct client_response : client_head {
  std::string body;
  // The JSON body of a 2xx (null when it is empty); otherwise the failure that the server sent.
  result<json> document() const;
  // What a non-2xx says: the problem+json as an error, or a description of what came instead.
  error failure() const;
};

// An answer whose body is read piece by piece. Owns its connection; dropping it closes it.
class client_stream {
 public:
  client_stream(client_stream&&) noexcept;
  client_stream& operator=(client_stream&&) noexcept;
  ~client_stream();

  const client_head& head() const noexcept;
  // The next piece; "" at the end. A body that breaks off is `unavailable`, never a short success.
  result<std::string> read();
  // Everything that is left, at most `limit` bytes.
  result<std::string> read_all(std::size_t limit);
  // Makes a read() in another thread fail with `cancelled`. Async-signal-safe.
  void interrupt() noexcept;
  // For poll(2). Ask buffered() first: bytes may already lie here.
  int descriptor() const noexcept;
  bool buffered() const noexcept;

 private:
  friend class client;
  struct state;
  explicit client_stream(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

// One Server-Sent Event.
struct sse_event {
  std::string id;  // the last id seen, this event's included
  std::string event;  // "message" when the server named none
  std::string data;
};

// Iterates the events of an answer of type text/event-stream.
class event_stream {
 public:
  explicit event_stream(client_stream stream);
  // The next event; nullopt at the end of the stream. Comments (keep-alive) are skipped.
  result<std::optional<sse_event>> next();
  // The position to resume after: goes back as Last-Event-ID.
  const std::string& last_id() const noexcept { return last_id_; }
  client_stream& stream() noexcept { return stream_; }

 private:
  client_stream stream_;
  std::string buffer_;
  std::string last_id_;
  std::size_t scanned_ = 0;
};

// A WebSocket. read() and write() may be called at the same time by one thread each; close(), interrupt() by any.
class client_websocket {
 public:
  client_websocket(client_websocket&&) noexcept;
  client_websocket& operator=(client_websocket&&) noexcept;
  ~client_websocket();

  // The next message; nullopt when the server closed (close_code() says how) . `wait` 0 = for ever; deadline_exceeded
  // when nothing came in time (the socket stays usable). Pings are answered inside.
  result<std::optional<stream_message>> read(std::chrono::milliseconds wait = std::chrono::milliseconds{0});
  result<void> write(stream_message message);
  // Sends a close frame and waits at most one second for the answer.
  void close(std::uint16_t code = 1000, std::string_view reason = {});

  const std::string& subprotocol() const noexcept;
  std::uint16_t close_code() const noexcept;  // 0 while open; 1006 = broke off
  std::string close_reason() const;
  int descriptor() const noexcept;  // for poll(2); ask buffered() first
  bool buffered() const noexcept;
  void interrupt() noexcept;  // async-signal-safe

 private:
  friend class client;
  struct state;
  explicit client_websocket(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

// Not thread-safe; one per thread. request() keeps its connection alive; open(), events() and websocket() take one of
// their own. Every failure to connect is `unavailable`, reason "no_server", "there is no server at …".
class client {
 public:
  // invalid_argument when the URL is none of those above.
  static result<client> make(client_options options);
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;
  ~client();

  // Any status is a success here; see client_response::document() and failure().
  result<client_response> request(client_request r);
  // The same with a JSON body ("null" = none), and a non-2xx as the error the server sent.
  result<json> call(std::string method, std::string target, json body = nullptr,
                    std::chrono::milliseconds silence = std::chrono::milliseconds{30'000});
  // The head has arrived on return; the body is read from the stream.
  result<client_stream> open(client_request r);
  // Non-2xx and other media types are errors. Set `silence` above the server's keep-alive of 15 s.
  result<event_stream> events(client_request r);
  result<client_websocket> websocket(std::string target, std::string subprotocol, headers fields = {},
                                     std::size_t max_message = 16u << 20);

  const std::string& base_url() const noexcept;

 private:
  struct state;
  explicit client(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

// Percent-encodes for one path segment or one query value: everything but [A-Za-z0-9-._~].
std::string encode_component(std::string_view text);

}  // namespace caged::http
