// Reads one answer from a link: its head, then its body piece by piece.
#pragma once

#include "answer_parser.hpp"
#include "client_channel.hpp"

namespace caged::http {

class client_answer {
 public:
  // Reads the final head; interim (1xx) answers are skipped, 101 is final. `method` tells whether a body can follow.
  result<void> read_head(client_link& link, std::string_view method, std::chrono::milliseconds silence);
  // "" = the end. A body that breaks off is `unavailable`.
  result<std::string> read_piece(client_link& link, std::chrono::milliseconds silence);

  const client_head& head() const noexcept { return parser_.head(); }
  client_head& head() noexcept { return parser_.head(); }
  // Whether the link may serve another request, once the body is read.
  bool reusable() const noexcept { return parser_.reusable(); }
  bool done() const noexcept { return parser_.done(); }

 private:
  answer_parser parser_;
};

}  // namespace caged::http
