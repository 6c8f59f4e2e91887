#include "exchange.hpp"

#include <algorithm>

#include "ws_session.hpp"

namespace caged::http {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t piece_size = 64 * 1024;
constexpr std::uint64_t skip_at_most = 64 * 1024;

error over() {
  return fail(errc::cancelled, "client_gone", "the client is gone, or the request is already answered", "");
}

error misuse(std::string message) {
  return fail(errc::internal, "answered_twice", std::move(message), "Report this bug.");
}

bool bodiless(int status) noexcept { return status == 204 || status == 304 || status < 200; }

// A value of a handler may hold text from outside; a line ending in it would split the answer.
void append_field(std::string& head, std::string_view name, std::string_view value) {
  if (!is_token(name)) return;
  head.append(name).append(": ");
  for (const char c : value) head += (static_cast<unsigned char>(c) < 32 && c != '\t') || c == 127 ? ' ' : c;
  head += "\r\n";
}

}  // namespace

// Shares the exchange, so that it may outlive the handler's frame.
class request_body : public byte_source {
 public:
  explicit request_body(std::shared_ptr<http_exchange> ex) : ex_(std::move(ex)) {}
  task<std::string> read() override {
    auto work = ex_->read_piece();
    co_return co_await on_strand(ex_->owner_->executor(), std::move(work));
  }
  std::optional<std::uint64_t> size() const override {
    switch (ex_->head_.body) {
      case framing::none:
        return 0;
      case framing::sized:
        return ex_->head_.content_length;
      case framing::chunked:
        break;
    }
    return std::nullopt;
  }

 private:
  std::shared_ptr<http_exchange> ex_;
};

http_exchange::http_exchange(std::shared_ptr<connection> owner, parsed_head head)
    : owner_(std::move(owner)),
      head_(std::move(head)),
      body_left_(head_.content_length),
      body_done_(head_.body == framing::none) {}

std::shared_ptr<byte_source> http_exchange::body() { return std::make_shared<request_body>(shared_from_this()); }

bool http_exchange::closing() const noexcept {
  const bool heavy =
      head_.body == framing::chunked || body_left_ > skip_at_most || (head_.expects_continue && !continued_);
  return !head_.keep_alive || body_broken_ || owner_->shared().draining || (!body_done_ && heavy);
}

error http_exchange::late_or_gone(io_end end) {
  body_broken_ = true;
  if (end == io_end::timeout && !owner_->gone())
    return fail(
        errc::deadline_exceeded, "body_stalled", "the request body stopped arriving",
        "Send the body without pauses of more than " + std::to_string(owner_->bounds().stall_time.count()) + " s.");
  return over();
}

asio::awaitable<result<void>> http_exchange::feed_chunks(std::string& piece) {
  auto& in = owner_->input();
  while (true) {
    std::size_t used = 0;
    const auto status = chunks_.feed(in, used, piece, piece_size);
    in.erase(0, used);
    if (status == chunk_decoder::status::bad) {
      body_broken_ = true;
      co_return fail(errc::invalid_argument, "malformed_chunk", std::string(chunks_.problem()),
                     "Send a well-formed chunked body (RFC 9112, section 7.1).");
    }
    body_done_ = status == chunk_decoder::status::done;
    if (body_done_ || !piece.empty()) co_return result<void>{};
    const auto end = co_await owner_->read_some(in, piece_size, clock::now() + owner_->bounds().stall_time);
    if (end != io_end::ok) co_return late_or_gone(end);
  }
}

task<std::string> http_exchange::read_piece() {
  if (over_ || owner_->gone() || body_broken_) co_return over();
  std::string piece;
  if (body_done_) co_return piece;
  const auto most = owner_->bounds().body_bytes;
  const auto too_large = [this, most] {
    body_broken_ = true;
    return fail(errc::too_large, "body_too_large", "the request body is larger than " + std::to_string(most) + " bytes",
                "Send less, or raise the server's limit.");
  };
  if (most != 0 && head_.body == framing::sized && head_.content_length > most) co_return too_large();
  if (head_.expects_continue && !continued_ && answer_ == answer::none) {
    continued_ = true;
    const bool sent = co_await owner_->send("HTTP/1.1 100 Continue\r\n\r\n", {});
    if (!sent) co_return over();
  }
  if (head_.body == framing::chunked) {
    const auto fed = co_await feed_chunks(piece);
    if (fed.has_error()) co_return fed.error();
  } else {
    auto& in = owner_->input();
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, piece_size));
    if (!in.empty()) {
      piece = in.substr(0, want);
      in.erase(0, piece.size());
    } else {
      const auto end = co_await owner_->read_some(piece, want, clock::now() + owner_->bounds().stall_time);
      if (end != io_end::ok) co_return late_or_gone(end);
    }
    body_left_ -= piece.size();
    body_done_ = body_left_ == 0;
  }
  body_taken_ += piece.size();
  if (most != 0 && body_taken_ > most) co_return too_large();
  co_return piece;
}

task<std::string> http_exchange::read_body(std::size_t limit) {
  auto work = read_body_here(limit);
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<std::string> http_exchange::read_body_here(std::size_t limit) {
  const auto too_large = fail(errc::too_large, "body_too_large",
                              "the request body is larger than " + std::to_string(limit) + " bytes", "Send less.");
  if (head_.body == framing::sized && head_.content_length > limit) co_return too_large;
  std::string whole;
  // One byte per almost-stall would hold the handler for days; a body read as a whole has a deadline as a whole.
  const auto deadline = clock::now() + 2 * owner_->bounds().stall_time;
  while (true) {
    auto piece = co_await read_piece();
    if (piece.has_error()) co_return piece.error();
    if (piece->empty()) co_return whole;
    if (whole.size() + piece->size() > limit) co_return too_large;
    if (whole.empty())
      whole = std::move(*piece);
    else
      whole += *piece;
    if (!body_done_ && clock::now() > deadline) co_return late_or_gone(io_end::timeout);
  }
}

std::string http_exchange::head_text(int status, const headers& fields, std::optional<std::uint64_t> length) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " " + std::string(status_phrase(status)) + "\r\n";
  bool dated = false;
  for (const auto& [name, value] : fields) {
    // Framing is the front's alone.
    if (equal_ignoring_case(name, "content-length") || equal_ignoring_case(name, "transfer-encoding") ||
        equal_ignoring_case(name, "connection"))
      continue;
    dated = dated || equal_ignoring_case(name, "date");
    append_field(text, name, value);
  }
  if (!dated) append_field(text, "Date", http_date());
  if (length) append_field(text, "Content-Length", std::to_string(*length));
  if (chunked_) append_field(text, "Transfer-Encoding", "chunked");
  keep_ = keep_ && !closing();
  if (!keep_) append_field(text, "Connection", "close");
  text += "\r\n";
  return text;
}

task<void> http_exchange::respond(response r) {
  auto work = respond_here(std::move(r));
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<void> http_exchange::respond_here(response r) {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ != answer::none) co_return misuse("respond() after the request was answered");
  answer_ = answer::finished;
  std::optional<std::uint64_t> length;
  if (!bodiless(r.status)) length = r.body.size();
  if (bodiless(r.status) || head_.head.method == "HEAD") r.body.clear();
  std::string head = head_text(r.status, r.fields, length);
  const bool sent = co_await owner_->send(head, r.body);
  if (!sent) co_return over();
  co_return result<void>{};
}

task<void> http_exchange::start(int status, headers fields) {
  auto work = start_here(status, std::move(fields));
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<void> http_exchange::start_here(int status, headers fields) {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ != answer::none) co_return misuse("start() after the request was answered");
  answer_ = answer::started;
  for (const auto& [name, value] : fields) {
    if (!equal_ignoring_case(name, "content-length") || value.empty() || value.size() > 18) continue;
    if (!std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    answer_left_ = std::stoull(value);
  }
  if (!answer_left_) {
    if (head_.http_1_0)
      keep_ = false;
    else
      chunked_ = !bodiless(status);
  }
  std::string head = head_text(status, fields, answer_left_);
  if (bodiless(status) || head_.head.method == "HEAD") {
    chunked_ = false;
    answer_left_ = 0;
  }
  if (answer_left_.value_or(0) > 0) {
    held_head_ = std::move(head);
    co_return result<void>{};
  }
  const bool sent = co_await owner_->send(head, {});
  if (!sent) co_return over();
  co_return result<void>{};
}

task<void> http_exchange::write(std::string piece) {
  auto work = write_here(std::move(piece));
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<void> http_exchange::write_here(std::string piece) {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ != answer::started) co_return misuse("write() without start()");
  if (head_.head.method == "HEAD" || piece.empty()) co_return result<void>{};
  std::string before = std::move(held_head_);
  held_head_.clear();
  if (answer_left_) {
    if (piece.size() > *answer_left_) {
      answer_ = answer::broken;
      co_return misuse("more was written than Content-Length said");
    }
    *answer_left_ -= piece.size();
  } else if (chunked_) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string size;
    for (std::size_t n = piece.size(); n != 0; n >>= 4) size.insert(size.begin(), digits[n & 15]);
    before += size + "\r\n";
    piece += "\r\n";
  }
  const bool sent = co_await owner_->send(before, piece);
  if (!sent) co_return over();
  co_return result<void>{};
}

task<void> http_exchange::finish() {
  auto work = finish_here();
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<void> http_exchange::finish_here() {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ == answer::finished) co_return result<void>{};
  if (answer_ != answer::started) co_return misuse("finish() without start()");
  if (answer_left_.value_or(0) > 0) {
    answer_ = answer::broken;
    co_return misuse("less was written than Content-Length said");
  }
  answer_ = answer::finished;
  if (!chunked_) co_return result<void>{};
  const bool sent = co_await owner_->send("0\r\n\r\n", {});
  if (!sent) co_return over();
  co_return result<void>{};
}

asio::awaitable<bool> http_exchange::skip_rest_of_body() {
  const auto deadline = clock::now() + 2s;
  while (!body_done_ && !body_broken_) {
    const auto piece = co_await read_piece();
    if (piece.has_error() || body_taken_ > 2 * skip_at_most || clock::now() > deadline) co_return false;
  }
  co_return body_done_;
}

task<std::shared_ptr<websocket>> http_exchange::accept_websocket(std::string subprotocol, std::size_t max_message) {
  auto work = accept_here(std::move(subprotocol), max_message);
  co_return co_await on_strand(owner_->executor(), std::move(work));
}

task<std::shared_ptr<websocket>> http_exchange::accept_here(std::string subprotocol, std::size_t max_message) {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ != answer::none) co_return misuse("accept_websocket() after the request was answered");
  if (!head_.websocket || !owner_->input().empty())
    co_return fail(errc::invalid_argument, "websocket_handshake",
                   "this is no WebSocket handshake, or data came before its end",
                   "Open it with a WebSocket client (RFC 6455, version 13).");
  answer_ = answer::upgraded;
  keep_ = false;
  socket_ = std::make_shared<ws_session>(owner_);
  const auto accepted = co_await socket_->accept(head_, std::move(subprotocol), max_message);
  if (accepted.has_error()) co_return accepted.error();
  co_return std::shared_ptr<websocket>(socket_);
}

namespace {

// A connection that speaks another protocol from now on.
class taken_over final : public byte_stream {
 public:
  explicit taken_over(std::shared_ptr<connection> c) : owner_(std::move(c)) {}
  ~taken_over() override { owner_->shut(); }
  task<std::string> read(std::chrono::milliseconds longest) override {
    std::string piece = std::exchange(owner_->input(), {});
    if (!piece.empty()) co_return piece;
    const auto end = co_await owner_->read_some(piece, 64 * 1024, clock::now() + longest);
    if (end == io_end::timeout)
      co_return fail(errc::deadline_exceeded, "client_silent", "the client said nothing for too long");
    co_return piece;
  }
  task<void> write(std::string bytes, std::chrono::milliseconds) override {
    const bool sent = co_await owner_->send(bytes, {});
    if (!sent) co_return fail(errc::cancelled, "client_gone", "the client is gone");
    co_return result<void>{};
  }
  void close() noexcept override { owner_->shut(); }

 private:
  std::shared_ptr<connection> owner_;
};

}  // namespace

task<std::shared_ptr<byte_stream>> http_exchange::upgrade(headers fields) {
  if (over_ || owner_->gone()) co_return over();
  if (answer_ != answer::none) co_return misuse("upgrade() after the request was answered");
  answer_ = answer::upgraded;
  keep_ = false;
  std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
  for (const auto& [name, value] : fields) head += name + ": " + value + "\r\n";
  head += "\r\n";
  const bool sent = co_await owner_->send(head, {});
  if (!sent) co_return over();
  co_return std::make_shared<taken_over>(owner_);
}

asio::awaitable<void> http_exchange::wait_closed() {
  if (over_) co_return;
  auto work = owner_->wait_gone(shared_from_this());
  co_await on_strand(owner_->executor(), std::move(work));
}

asio::awaitable<bool> http_exchange::conclude(bool threw) {
  if (answer_ == answer::none && !owner_->gone()) {
    const error e = fail(errc::internal, "no_answer", "the request was not answered because of a bug in the server",
                         "Look into the server's log and report it.");
    keep_ = keep_ && !threw;
    co_await respond_here(problem_response(e));
  }
  if (answer_ == answer::upgraded && socket_ && socket_->open()) co_await socket_->close(threw ? 1011 : 1000, "");
  // A streamed answer that was not finished must look broken to the client, not complete.
  if (answer_ == answer::started || answer_ == answer::broken) owner_->shut();
  bool keep = keep_ && answer_ == answer::finished && !owner_->gone();
  if (keep) keep = co_await skip_rest_of_body();
  over_ = true;
  co_return keep;
}

}  // namespace caged::http
