// One request being answered on a connection.
#pragma once

#include "chunks.hpp"
#include "connection.hpp"

namespace caged::http {

class ws_session;

class http_exchange : public exchange, public std::enable_shared_from_this<http_exchange> {
 public:
  http_exchange(std::shared_ptr<connection> owner, parsed_head head);

  const request& head() const noexcept override { return head_.head; }
  std::shared_ptr<byte_source> body() override;
  task<std::string> read_body(std::size_t limit) override;
  task<void> respond(response r) override;
  task<void> start(int status, headers fields) override;
  task<void> write(std::string piece) override;
  task<void> finish() override;
  bool wants_websocket() const noexcept override { return head_.websocket; }
  task<std::shared_ptr<websocket>> accept_websocket(std::string subprotocol, std::size_t max_message) override;
  asio::awaitable<void> wait_closed() override;
  task<std::shared_ptr<byte_stream>> upgrade(headers fields) override;

  // For the connection: completes the answer after the handler has returned or thrown; whether the connection may be
  // kept. Afterwards every call of the handler's copies fails with `cancelled`.
  asio::awaitable<bool> conclude(bool threw);
  bool body_done() const noexcept { return body_done_; }
  bool upgraded() const noexcept { return answer_ == answer::upgraded; }
  const parsed_head& parsed() const noexcept { return head_; }

 private:
  friend class request_body;
  enum class answer : std::uint8_t { none = 1, started, finished, upgraded, broken };

  task<std::string> read_piece();
  asio::awaitable<result<void>> feed_chunks(std::string& piece);
  task<std::string> read_body_here(std::size_t limit);
  task<void> respond_here(response r);
  task<void> start_here(int status, headers fields);
  task<void> write_here(std::string piece);
  task<void> finish_here();
  task<std::shared_ptr<websocket>> accept_here(std::string subprotocol, std::size_t max_message);
  std::string head_text(int status, const headers& fields, std::optional<std::uint64_t> length);
  asio::awaitable<bool> skip_rest_of_body();
  error late_or_gone(io_end end);
  bool closing() const noexcept;

  std::shared_ptr<connection> owner_;
  parsed_head head_;
  chunk_decoder chunks_;
  std::uint64_t body_left_ = 0;
  std::uint64_t body_taken_ = 0;
  bool body_done_ = false;
  bool body_broken_ = false;
  bool continued_ = false;   // 100 Continue was sent
  answer answer_ = answer::none;
  bool over_ = false;        // the handler has returned
  bool keep_ = true;
  bool chunked_ = false;
  std::optional<std::uint64_t> answer_left_;  // of a sized streamed answer
  std::string held_head_;    // of a sized streamed answer, sent with its first piece
  std::shared_ptr<ws_session> socket_;
};

}  // namespace caged::http
