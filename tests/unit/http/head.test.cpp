#include "sdk/plugin/src/http/head.hpp"

#include <gtest/gtest.h>

#include "sdk/plugin/src/http/chunks.hpp"

namespace caged::http {
namespace {

int status_of(std::string_view text) {
  const auto parsed = parse_head(text);
  if (const auto* refusal = std::get_if<head_refusal>(&parsed)) return refusal->status;
  return 0;
}

std::string with(std::string_view lines, std::string_view method = "POST") {
  return std::string(method) + " / HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
}

TEST(head, refuses_what_lets_requests_be_smuggled) {
  EXPECT_EQ(status_of(with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: 3\r\nContent-Length: 3\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: 3\r\nContent-Length: 4\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: 3, 3\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: +3\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: -1\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: 0x10\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length:\r\n")), 400);
  EXPECT_EQ(status_of(with("Content-Length: 99999999999999999999\r\n")), 400);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(status_of(with("Transfer-Encoding: gzip, chunked\r\n")), 501);
  EXPECT_EQ(status_of(with("Transfer-Encoding: \x0b"
                           "chunked\r\n")),
            400);
  EXPECT_EQ(status_of(with("Transfer-Encoding : chunked\r\n")), 400);
  EXPECT_EQ(status_of(with("X: a\r\n b\r\n")), 400);
  EXPECT_EQ(status_of(with("X: a\n")), 400);
  EXPECT_EQ(status_of(with("X: a\rY: b\r\n")), 400);
  EXPECT_EQ(status_of(with(": a\r\n")), 400);
  EXPECT_EQ(status_of(with("X\r\n")), 400);
  EXPECT_EQ(status_of(with(std::string("X: a\0b\r\n", 8))), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(head, refuses_malformed_first_lines_and_hosts) {
  for (const char* text : {"\r\n\r\n",
                           "GET\r\n\r\n",
                           "GET /\r\n\r\n",
                           "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
                           "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
                           "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET / HTTP/1.1\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost:\r\n\r\n",
                           "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
                           "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"})
    EXPECT_EQ(status_of(text), 400) << text;
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status_of(with("Expect: cookies\r\n")), 417);
  std::string many;
  for (int i = 0; i < 101; ++i) many += "X: y\r\n";
  EXPECT_EQ(status_of(with(many)), 431);
}

TEST(head, reads_a_request) {
  const auto parsed = parse_head(
      "PUT /v1/a%2Fb/c?path=%2Fx+y&flag&e=%3D HTTP/1.1\r\nHOST: Example.ORG.:80\r\nX-Two:  b\t\r\n"
      "Content-Length: 12\r\nExpect: 100-Continue\r\nConnection: Close\r\n\r\n");
  const auto& head = std::get<parsed_head>(parsed);
  EXPECT_EQ(head.head.method, "PUT");
  EXPECT_EQ(head.head.path, "/v1/a%2Fb/c");
  EXPECT_EQ(head.head.segments, (std::vector<std::string>{"v1", "a/b", "c"}));
  EXPECT_EQ(head.head.query,
            (std::vector<std::pair<std::string, std::string>>{{"path", "/x y"}, {"flag", ""}, {"e", "="}}));
  EXPECT_EQ(head.head.host, "example.org");
  EXPECT_EQ(head.head.field("x-two"), "b");
  EXPECT_EQ(head.body, framing::sized);
  EXPECT_EQ(head.content_length, 12u);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_FALSE(head.keep_alive);
}

TEST(head, takes_the_absolute_form_and_ipv6) {
  const auto parsed = parse_head("GET http://[::1]:8080/x?y HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n");
  const auto& head = std::get<parsed_head>(parsed);
  EXPECT_EQ(head.head.path, "/x");
  EXPECT_EQ(head.head.target, "/x?y");
  EXPECT_EQ(head.head.host, "::1");
}

TEST(head, scans_one_byte_at_a_time) {
  const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
  std::size_t scanned = 0;
  for (std::size_t n = 1; n < text.size() - 4; ++n)
    EXPECT_EQ(scan_head(std::string_view(text).substr(0, n), scanned), scan_state::need_more);
  EXPECT_EQ(scan_head(text, scanned), scan_state::complete);
  EXPECT_EQ(scanned, text.size() - 4);
  scanned = 0;
  EXPECT_EQ(scan_head("GET / HTTP/1.1\n", scanned), scan_state::bare_line_feed);
}

// Feeds `text` in pieces of every size; the body, or "bad".
std::string decode(std::string_view text, std::size_t piece) {
  chunk_decoder decoder;
  std::string body, in;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    in += text.substr(at, piece);
    std::size_t used = 0;
    const auto status = decoder.feed(in, used, body, 1000);
    in.erase(0, used);
    if (status == chunk_decoder::status::bad) return "bad";
    if (status == chunk_decoder::status::done)
      return body + "|" + in + std::string(text.substr(std::min(text.size(), at + piece)));
  }
  return "more";
}

TEST(chunks, split_anywhere_give_the_same_body) {
  const std::string text = "5;x=y\r\nhello\r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nnext";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) EXPECT_EQ(decode(text, piece), "hello0123456789|next");
}

TEST(chunks, refuse_everything_lenient) {
  for (const char* text :
       {"\r\n", "g\r\n", "5\nhello", "5\r\nhelloX\r\n", "5 \r\nhello\r\n", " 5\r\n", "0x5\r\n", "-1\r\n",
        "1234567890123456\r\n", "5\r\nhello\n0\r\n\r\n", "0\r\nX\n\r\n", "0\r\n\rX", "5;\x01\r\n"}) {
    EXPECT_EQ(decode(text, 1), "bad") << text;
    EXPECT_EQ(decode(text, 100), "bad") << text;
  }
  EXPECT_EQ(decode("5;" + std::string(300, 'x'), 7), "bad");
  EXPECT_EQ(decode("0\r\n" + std::string(9000, 'x'), 100), "bad");
}

TEST(chunks, give_no_more_than_asked_for) {
  chunk_decoder decoder;
  std::string out;
  std::size_t used = 0;
  EXPECT_EQ(decoder.feed("8\r\n01234567\r\n0\r\n\r\n", used, out, 3), chunk_decoder::status::full);
  EXPECT_EQ(out, "012");
  EXPECT_EQ(used, 6u);
}

}  // namespace
}  // namespace caged::http
