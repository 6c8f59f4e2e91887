// Reads one answer from a link: its head, then its body piece by piece.
#pragma once

#include "chunks.hpp"
#include "client_channel.hpp"

namespace caged::http {

class client_answer {
 public:
  // Reads the final head; interim (1xx) answers are skipped, 101 is final. `method` tells whether a body can follow.
  result<void> read_head(client_link& link, std::string_view method, std::chrono::milliseconds silence);
  // "" = the end. A body that breaks off is `unavailable`.
  result<std::string> read_piece(client_link& link, std::chrono::milliseconds silence);

  const client_head& head() const noexcept { return head_; }
  client_head& head() noexcept { return head_; }
  // Whether the link may serve another request, once the body is read.
  bool reusable() const noexcept { return done_ && !until_close_ && !says_close_; }
  bool done() const noexcept { return done_; }

 private:
  client_head head_;
  bool chunked_ = false, until_close_ = false, done_ = false, says_close_ = false;
  std::uint64_t left_ = 0;
  chunk_decoder chunks_;
};

}  // namespace caged::http
