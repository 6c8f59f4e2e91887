// Request heads, targets, chunks, routes and arguments from hostile bytes. Beyond not crashing: whatever our parser
// takes, Beast takes too and reads the same out of it, and chunks decode alike however they are split.
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <cstdlib>

#include "plugins/transport/rest/input.hpp"
#include "sdk/plugin/src/http/chunks.hpp"
#include "sdk/plugin/src/http/head.hpp"

namespace {

using namespace caged;

void require(bool holds) {
  if (!holds) std::abort();
}

void compare_with_beast(std::string_view text, const http::parsed_head& ours) {
  boost::beast::http::request_parser<boost::beast::http::empty_body> parser;
  parser.header_limit(1u << 20);
  parser.body_limit(boost::none);
  boost::system::error_code ec;
  std::size_t at = text.starts_with("\r\n") ? 2 : 0;
  while (!ec && !parser.is_header_done() && at < text.size())
    at += parser.put(boost::asio::buffer(text.data() + at, text.size() - at), ec);
  require(!ec && parser.is_header_done());
  require(parser.chunked() == (ours.body == http::framing::chunked));
  require(parser.content_length().value_or(0) == ours.content_length);
  require(parser.get()["host"] == ours.head.field("host"));
}

std::string decode(std::string_view text, std::size_t piece) {
  http::chunk_decoder decoder;
  std::string in, out;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    in += text.substr(at, piece);
    std::size_t used = 0;
    const auto status = decoder.feed(in, used, out, 1u << 20);
    require(used <= in.size());
    in.erase(0, used);
    if (status == http::chunk_decoder::status::bad) return "bad";
    if (status == http::chunk_decoder::status::done) return "done:" + out;
  }
  return "more";
}

const operation_info& sample() {
  static const operation_info info = [] {
    operation_info made;
    made.name = "x";
    made.method = "GET";
    made.path = "/v1/sandboxes/{id}";
    made.input = json::parse(
        R"({"properties":{"a":{"type":"array","items":{"type":"integer"}},"c":{"type":["number","boolean"]}}})");
    return made;
  }();
  return info;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  require(decode(text, 1) == decode(text, text.size() + 1));
  std::size_t scanned = 0;
  if (http::scan_head(text, scanned) != http::scan_state::complete) return 0;
  const auto head_text = text.substr(0, scanned);
  const auto parsed = http::parse_head(head_text);
  const auto* head = std::get_if<http::parsed_head>(&parsed);
  if (head == nullptr) return 0;
  compare_with_beast(head_text, *head);
  static const auto router = rest::router::make({&sample()}).value();
  const auto match = router.match(head->head.method, head->head.path);
  auto query = rest::query_arguments(sample(), head->head, {});
  if (match.operation != nullptr && query.has_value())
    static_cast<void>(rest::merge_arguments(sample(), match.parameters, std::move(*query), nullptr));
  return 0;
}
