#include "client_answer.hpp"

namespace caged::http {
namespace {

error no_http(const std::string& why) {
  return fail(errc::unavailable, "not_http", "the server does not answer in HTTP: " + why,
              "Check the address and the port.");
}

error cut_off() {
  return fail(errc::unavailable, "answer_cut_off", "the server closed the connection in the middle of its answer",
              "Look whether the server still runs, and try again.");
}

}  // namespace

result<void> client_answer::read_head(client_link& link, std::string_view method, std::chrono::milliseconds silence) {
  while (true) {
    const auto step = parser_.take_head(link.in, method);
    if (step == answer_parser::step::bad) return no_http(parser_.problem());
    if (step == answer_parser::step::ready) break;
    const auto more = link.fill(silence);
    if (more.has_error()) return more.error();
    if (!*more) return link.in.empty() ? cut_off() : no_http("it closed the connection within the head");
  }
  link.used = true;
  return {};
}

result<std::string> client_answer::read_piece(client_link& link, std::chrono::milliseconds silence) {
  std::string piece;
  while (true) {
    const auto step = parser_.take_piece(link.in, piece);
    if (step == answer_parser::step::bad) return no_http(parser_.problem());
    if (step == answer_parser::step::ready) return piece;
    const auto more = link.fill(silence);
    if (more.has_error()) return more.error();
    if (*more) continue;
    if (!parser_.closed()) return cut_off();
    return piece;
  }
}

}  // namespace caged::http
