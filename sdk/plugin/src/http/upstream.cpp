#include <caged/http_upstream.hpp>

#include <openssl/ssl.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <list>

#include "answer_parser.hpp"
#include "client_parts.hpp"

namespace caged::http {
namespace {

namespace ssl = asio::ssl;
using boost::beast::tcp_stream;
using std::chrono::milliseconds;

constexpr auto idle_life = std::chrono::seconds(30);  // shorter than what servers keep, so that reuse rarely fails

error lost(const std::string& what) {
  return fail(errc::unavailable, "connection_lost", "the connection to the origin broke: " + what, "Try again.");
}

error late(milliseconds longest) {
  return fail(errc::deadline_exceeded, "origin_silent",
              "the origin said nothing for " + std::to_string(longest.count()) + " ms", "Try again.");
}

// TCP, or TLS over it; `Stream` is the layer that is read and written.
template <class Stream>
class socket_stream final : public byte_stream {
 public:
  template <class... Args>
  explicit socket_stream(Args&&... args) : stream_(std::forward<Args>(args)...) {}
  Stream& layer() noexcept { return stream_; }
  tcp_stream& lowest() noexcept { return boost::beast::get_lowest_layer(stream_); }

  task<std::string> read(milliseconds longest) override {
    std::string piece(64 * 1024, '\0');
    lowest().expires_after(longest);
    const auto [ec, n] = co_await stream_.async_read_some(asio::buffer(piece), use_tuple);
    if (ec == boost::beast::error::timeout) co_return late(longest);
    if (ec == asio::error::eof) co_return std::string();
    // A TLS peer that closes without notice may have been cut by anybody: an error, not an end.
    if (ec) co_return lost(ec.message());
    piece.resize(n);
    co_return piece;
  }

  task<void> write(std::string bytes, milliseconds longest) override {
    lowest().expires_after(longest);
    const auto [ec, n] = co_await asio::async_write(stream_, asio::buffer(bytes), use_tuple);
    (void)n;
    if (ec == boost::beast::error::timeout) co_return late(longest);
    if (ec) co_return lost(ec.message());
    co_return result<void>{};
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    lowest().socket().close(ignored);
  }

 private:
  Stream stream_;
};

std::string request_text(const upstream_request& r, const std::string& prefix, const std::string& authority) {
  std::string text =
      r.method + " " + prefix + r.target + " HTTP/1.1\r\nHost: " + (r.host.empty() ? authority : r.host) + "\r\n";
  for (const auto& [name, value] : r.fields) text += name + ": " + value + "\r\n";
  if (r.body_source && !r.body_size)
    text += "Transfer-Encoding: chunked\r\n";
  else if (r.body_source)
    text += "Content-Length: " + std::to_string(*r.body_size) + "\r\n";
  else if (!r.body.empty() || r.method == "POST" || r.method == "PUT" || r.method == "PATCH")
    text += "Content-Length: " + std::to_string(r.body.size()) + "\r\n";
  if (r.upgrade) text += "Connection: Upgrade\r\n";
  return text + "\r\n" + r.body;
}

// A value with a line break would add headers of its own.
bool fits_a_line(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

result<void> check(const upstream_request& r) {
  bool fine = r.target.starts_with('/') && r.target.find(' ') == std::string::npos && fits_a_line(r.target) &&
              fits_a_line(r.method) && fits_a_line(r.host);
  for (const auto& [name, value] : r.fields) fine = fine && fits_a_line(name) && fits_a_line(value);
  if (fine) return {};
  return fail(errc::invalid_argument, "bad_request", "the request cannot be passed on as it is",
              "Percent-encode the path and leave line breaks out of headers.");
}

struct link {
  std::shared_ptr<byte_stream> stream;
  std::string in;
  std::chrono::steady_clock::time_point idle_since;
};

using give_back = std::function<void(link)>;

class answer_impl final : public upstream_answer {
 public:
  answer_impl(link l, milliseconds silence, give_back back)
      : link_(std::move(l)), silence_(silence), back_(std::move(back)) {}
  ~answer_impl() override {
    if (link_.stream) link_.stream->close();
  }
  const client_head& head() const noexcept override { return parser_.head(); }

  task<void> read_head(std::string method, milliseconds longest) {
    while (true) {
      const auto step = parser_.take_head(link_.in, method);
      if (step == answer_parser::step::bad) co_return no_http();
      if (step == answer_parser::step::ready) break;
      auto more = co_await link_.stream->read(longest);
      if (!more) co_return more.error();
      if (more->empty()) co_return lost("it was closed before the answer");
      link_.in += *more;
    }
    end();
    co_return result<void>{};
  }

  task<std::string> read() override {
    std::string piece;
    while (link_.stream) {
      const auto step = parser_.take_piece(link_.in, piece);
      if (step == answer_parser::step::bad) co_return no_http();
      if (step == answer_parser::step::ready) break;
      auto more = co_await link_.stream->read(silence_);
      if (!more) co_return more.error();
      if (!more->empty()) {
        link_.in += *more;
        continue;
      }
      if (parser_.closed()) break;
      co_return fail(errc::unavailable, "answer_cut_off",
                     "the origin closed the connection in the middle of its answer", "Try again.");
    }
    end();
    co_return piece;
  }

  bool done() const noexcept override { return parser_.done(); }

  std::shared_ptr<byte_stream> take_stream(std::string& ahead) override {
    ahead = std::move(link_.in);
    return std::exchange(link_.stream, nullptr);
  }

 private:
  error no_http() const {
    return fail(errc::unavailable, "not_http", "the origin does not answer in HTTP: " + parser_.problem(),
                "Check its address.");
  }
  // The whole answer is read: the connection is free for another.
  void end() {
    if (!parser_.done() || parser_.head().status == 101 || !link_.stream) return;
    if (parser_.reusable() && link_.in.empty() && back_)
      back_(std::move(link_));
    else
      link_.stream->close();
    link_.stream = nullptr;
  }

  link link_;
  const milliseconds silence_;
  give_back back_;
  answer_parser parser_;
};

task<void> send_body(std::shared_ptr<byte_stream> to, std::shared_ptr<byte_source> from, bool chunked,
                     milliseconds silence) {
  while (true) {
    auto piece = co_await from->read();
    if (!piece) co_return piece.error();
    const bool end = piece->empty();
    std::string framed = std::move(*piece);
    if (chunked) framed = end ? "0\r\n\r\n" : to_hex(framed.size()) + "\r\n" + framed + "\r\n";
    if (!framed.empty())
      if (auto sent = co_await to->write(std::move(framed), silence); !sent) co_return sent.error();
    if (end) co_return result<void>{};
  }
}

task<std::shared_ptr<upstream_answer>> exchange_over(link l, std::string text, upstream_request r, give_back back) {
  if (auto sent = co_await l.stream->write(std::move(text), r.silence); !sent) co_return sent.error();
  if (r.body_source)
    if (auto sent = co_await send_body(l.stream, r.body_source, !r.body_size, r.silence); !sent) co_return sent.error();
  auto answer = std::make_shared<answer_impl>(std::move(l), r.silence, std::move(back));
  if (auto head = co_await answer->read_head(r.method, r.first_byte); !head) co_return head.error();
  co_return std::shared_ptr<upstream_answer>(std::move(answer));
}

class pool final : public upstream {
 public:
  pool(asio::any_io_executor executor, upstream_options options, client_target target)
      : executor_(std::move(executor)), options_(std::move(options)), target_(std::move(target)) {}

  result<void> prepare() {
    if (target_.how != client_target::kind::tls) return {};
    boost::system::error_code ec;
    if (options_.ca_file.empty())
      context_.set_default_verify_paths(ec);
    else
      context_.load_verify_file(options_.ca_file, ec);
    if (ec)
      return fail(errc::invalid_argument, "tls_setup", "the trusted certificates cannot be read: " + options_.ca_file,
                  "Give a file of PEM certificates.");
    SSL_CTX_set_min_proto_version(context_.native_handle(), TLS1_2_VERSION);
    context_.set_verify_mode(ssl::verify_peer);
    return {};
  }

  task<std::shared_ptr<upstream_answer>> send(upstream_request r) override {
    if (auto fine = check(r); !fine) co_return fine.error();
    const std::string text = request_text(r, target_.prefix, target_.authority);
    auto self = std::static_pointer_cast<pool>(shared_from_this());
    const give_back back = [weak = std::weak_ptr<pool>(self)](link l) {
      if (auto owner = weak.lock()) owner->keep(std::move(l));
    };
    link l = take_idle();
    if (!l.stream) {
      auto fresh = co_await connect();
      if (!fresh) co_return fresh.error();
      l.stream = std::move(*fresh);
    }
    co_return co_await exchange_over(std::move(l), text, std::move(r), back);
  }

 private:
  // A connection that turned readable while idle was closed by the origin, or speaks out of turn.
  link take_idle() {
    const auto now = std::chrono::steady_clock::now();
    while (!idle_.empty()) {
      link l = std::move(idle_.back());
      idle_.pop_back();
      if (now - l.idle_since < idle_life && quiet(*l.stream)) return l;
      l.stream->close();
    }
    return {};
  }
  bool quiet(byte_stream& s) const {
    int fd = -1;
    if (auto* plain = dynamic_cast<socket_stream<tcp_stream>*>(&s)) fd = plain->lowest().socket().native_handle();
    if (auto* tls = dynamic_cast<socket_stream<ssl::stream<tcp_stream>>*>(&s))
      fd = tls->lowest().socket().native_handle();
    char byte;
    return fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  void keep(link l) {
    if (idle_.size() >= options_.idle_connections) return l.stream->close();
    l.idle_since = std::chrono::steady_clock::now();
    idle_.push_back(std::move(l));
  }

  error no_server(const std::string& why) const {
    return fail(errc::unavailable, "no_server", "there is no server at " + options_.base_url + ": " + why,
                "Check the address and the network.");
  }

  task<std::shared_ptr<byte_stream>> connect() {
    asio::ip::tcp::resolver resolver(executor_);
    const auto [failed, list] = co_await resolver.async_resolve(target_.host, target_.port, use_tuple);
    if (failed) co_return no_server(failed.message());
    if (target_.how == client_target::kind::tls) co_return co_await connect_tls(list);
    auto made = std::make_shared<socket_stream<tcp_stream>>(executor_);
    made->lowest().expires_after(options_.connect_timeout);
    const auto [ec, where] = co_await made->lowest().async_connect(list, use_tuple);
    if (ec) co_return no_server(ec.message());
    made->lowest().socket().set_option(asio::ip::tcp::no_delay(true));
    co_return std::shared_ptr<byte_stream>(std::move(made));
  }

  task<std::shared_ptr<byte_stream>> connect_tls(asio::ip::tcp::resolver::results_type list) {
    auto made = std::make_shared<socket_stream<ssl::stream<tcp_stream>>>(executor_, context_);
    made->lowest().expires_after(options_.connect_timeout);
    const auto [ec, where] = co_await made->lowest().async_connect(list, use_tuple);
    if (ec) co_return no_server(ec.message());
    made->lowest().socket().set_option(asio::ip::tcp::no_delay(true));
    auto* handle = made->layer().native_handle();
    SSL_set_tlsext_host_name(handle, target_.host.c_str());
    SSL_set1_host(handle, target_.host.c_str());
    const auto [refused] = co_await made->layer().async_handshake(ssl::stream_base::client, use_tuple);
    if (refused)
      co_return fail(errc::unavailable, "tls_handshake",
                     "no secure connection to " + options_.base_url + ": " + refused.message(),
                     "Check the address and the server's certificate.");
    co_return std::shared_ptr<byte_stream>(std::move(made));
  }

  const asio::any_io_executor executor_;
  const upstream_options options_;
  const client_target target_;
  ssl::context context_{ssl::context::tls_client};
  std::list<link> idle_;
};

}  // namespace

result<std::shared_ptr<upstream>> upstream::make(asio::any_io_executor executor, upstream_options options) {
  auto target = parse_base_url(options.base_url);
  if (target.has_error()) return target.error();
  if (target->how == client_target::kind::local)
    return fail(errc::invalid_argument, "bad_url", "\"" + options.base_url + "\" is no http(s) address",
                "Give http://HOST:PORT or https://HOST.");
  auto made = std::make_shared<pool>(std::move(executor), std::move(options), std::move(*target));
  if (auto ready = made->prepare(); !ready) return ready.error();
  return std::shared_ptr<upstream>(std::move(made));
}

std::shared_ptr<byte_stream> stream_of(asio::ip::tcp::socket socket) {
  return std::make_shared<socket_stream<tcp_stream>>(std::move(socket));
}

task<std::shared_ptr<upstream_answer>> send_over(std::shared_ptr<byte_stream> stream, upstream_request r) {
  if (auto fine = check(r); !fine) co_return fine.error();
  link l;
  l.stream = std::move(stream);
  const std::string text = request_text(r, "", r.host);
  co_return co_await exchange_over(std::move(l), text, std::move(r), give_back{});
}

}  // namespace caged::http
