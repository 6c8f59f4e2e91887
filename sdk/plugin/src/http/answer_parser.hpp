// Reads one HTTP/1.1 answer out of bytes: its head, then its body piece by piece. No sockets.
#pragma once

#include <caged/http_client.hpp>

#include "chunks.hpp"

namespace caged::http {

class answer_parser {
 public:
  enum class step : std::uint8_t { need_more = 1, ready, bad };

  // Takes the final head from the front of `in`; interim (1xx) answers are skipped, 101 is final. `method` tells
  // whether a body can follow. `bad`: see problem().
  step take_head(std::string& in, std::string_view method);
  // `ready`: `piece` holds body bytes, or done() is true.
  step take_piece(std::string& in, std::string& piece);
  // The other side closed: whether that is the proper end of the body.
  bool closed() noexcept;

  const client_head& head() const noexcept { return head_; }
  client_head& head() noexcept { return head_; }
  // Whether the connection may serve another request, once the body is read.
  bool reusable() const noexcept { return done_ && !until_close_ && !says_close_; }
  bool done() const noexcept { return done_; }
  const std::string& problem() const noexcept { return problem_; }

 private:
  step fail(std::string why);
  client_head head_;
  bool chunked_ = false, until_close_ = false, done_ = false, says_close_ = false;
  std::uint64_t left_ = 0;
  std::size_t scanned_ = 0;
  chunk_decoder chunks_;
  std::string problem_;
};

}  // namespace caged::http
