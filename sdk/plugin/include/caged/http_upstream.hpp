// An HTTP/1.1 client for coroutines: what a transport passes requests on with. TCP, TLS, or any byte stream.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <caged/byte_stream.hpp>
#include <caged/http_client.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <memory>
#include <string>

namespace caged::http {

struct upstream_options {
  std::string base_url;  // "https://host[:port][/prefix]" or http://
  std::string ca_file;   // https: trust these certificates instead of the system's
  std::chrono::milliseconds connect_timeout{10'000};
  std::size_t idle_connections = 64;  // kept for the next request
};

struct upstream_request {
  std::string method = "GET";
  std::string target;  // path and query, as it goes onto the wire, after the prefix
  headers fields;      // without Host, Content-Length, Transfer-Encoding and Connection
  std::string body;
  std::shared_ptr<byte_source> body_source;  // pulled instead of `body`; chunked unless body_size is set
  std::optional<std::uint64_t> body_size;
  std::string host;    // "" = the origin's
  std::chrono::milliseconds first_byte{600'000};  // until the head of the answer
  std::chrono::milliseconds silence{120'000};     // between two pieces
  bool upgrade = false;  // pass Connection: Upgrade on
};

// An answer whose body is pulled. Dropping it before its end closes the connection.
class upstream_answer {
 public:
  virtual ~upstream_answer() = default;
  virtual const client_head& head() const noexcept = 0;
  // The next piece as it arrived; "" at the end. A body that breaks off is `unavailable`, reason "answer_cut_off".
  virtual task<std::string> read() = 0;
  // Whether the last byte of the body has been read; may still be false when it has not been looked for.
  virtual bool done() const noexcept = 0;
  // After 101: the connection itself, and what was read ahead. Once.
  virtual std::shared_ptr<byte_stream> take_stream(std::string& ahead) = 0;
};

// One origin and its idle connections. Used on one executor.
class upstream : public std::enable_shared_from_this<upstream> {
 public:
  virtual ~upstream() = default;
  // invalid_argument when the URL is none of those above or the certificates cannot be read.
  static result<std::shared_ptr<upstream>> make(asio::any_io_executor executor, upstream_options options);
  // The head has arrived on return. Errors are `unavailable` (reasons "no_server", "tls_handshake", "connection_lost",
  // "not_http") and deadline_exceeded; a request that may have reached the origin is never sent twice.
  virtual task<std::shared_ptr<upstream_answer>> send(upstream_request r) = 0;
};

// A connected socket as a stream.
std::shared_ptr<byte_stream> stream_of(asio::ip::tcp::socket socket);

// The same over a stream that exists; no reuse.
task<std::shared_ptr<upstream_answer>> send_over(std::shared_ptr<byte_stream> stream, upstream_request r);

}  // namespace caged::http
