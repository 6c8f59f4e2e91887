// Heads, hosts, keep-alive and pipelining, over real sockets.
#include "fixture.hpp"

namespace caged::http::testing {
namespace {

asio::awaitable<void> echo(std::shared_ptr<exchange> ex) {
  response r;
  r.fields = {{"Content-Type", "text/plain"}, {"X-Split", "a\r\nX-Injected: yes"}, {"Content-Length", "999"}};
  r.body = ex->head().method + " " + ex->head().path;
  co_await ex->respond(std::move(r));
}

asio::awaitable<void> read_then_answer(std::shared_ptr<exchange> ex) {
  auto body = co_await ex->read_body(1000);
  response r;
  if (body.has_error())
    r = problem_response(body.error());
  else
    r.body = "[" + *body + "]";
  co_await ex->respond(std::move(r));
}

asio::awaitable<void> forgets(std::shared_ptr<exchange>) { co_return; }

asio::awaitable<void> throws(std::shared_ptr<exchange>) {
  throw std::runtime_error("a secret of the server");
  co_return;
}

class front_test : public front_fixture {
 protected:
  front_test() {
    EXPECT_TRUE(front_->route("", "/", echo).has_value());
    EXPECT_TRUE(front_->route("", "/body", read_then_answer).has_value());
    EXPECT_TRUE(front_->route("", "/forgets", forgets).has_value());
    EXPECT_TRUE(front_->route("", "/throws", throws).has_value());
  }
  // One request on a connection of its own, which the server must close.
  std::string exchange_text(std::string_view request) {
    raw_socket s(port_);
    s.send(request);
    auto answer = s.read_all();
    EXPECT_TRUE(s.closed()) << "the connection stayed open after: " << answer;
    return answer;
  }
};

TEST_F(front_test, malformed_requests_get_a_problem_and_the_connection_is_closed) {
  for (const char* request :
       {"GET / HTTP/1.1\nHost: localhost\n\n", "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", "\x16\x03\x01\x02\n"}) {
    const auto answer = exchange_text(request);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << answer;
    EXPECT_NE(answer.find("application/problem+json"), std::string::npos);
    EXPECT_NE(answer.find("Connection: close"), std::string::npos);
    EXPECT_NE(answer.find("\"reason\":{"), std::string::npos);
  }
  EXPECT_EQ(front_->statistics().refused, 6u);
  EXPECT_EQ(front_->statistics().requests, 0u);
}

TEST_F(front_test, a_smuggled_second_request_is_never_seen) {
  const auto answer = exchange_text(
      "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(answer.find("smuggled"), std::string::npos);
  EXPECT_EQ(front_->statistics().requests, 0u);
}

TEST_F(front_test, a_foreign_host_is_refused) {
  for (const char* host : {"evil.example", "127.0.0.2", "localhost.evil.example", "169.254.169.254"}) {
    const auto answer = exchange_text("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 403 ")) << answer;
  }
  for (const char* host : {"localhost", "127.0.0.1:1", "CAGED.example.org", "[::1]:99"}) {
    const auto answer = exchange_text("GET / HTTP/1.1\r\nConnection: close\r\nHost: " + std::string(host) + "\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << host << answer;
  }
}

TEST_F(front_test, a_giant_head_is_431_whether_it_ends_or_not) {
  const auto ended = exchange_text("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
  EXPECT_TRUE(ended.starts_with("HTTP/1.1 431 ")) << ended;
  const auto endless = exchange_text("GET /" + std::string(100'000, 'x'));
  EXPECT_TRUE(endless.starts_with("HTTP/1.1 431 ")) << endless;
}

TEST_F(front_test, a_slow_head_is_408_and_silence_is_closed) {
  raw_socket slow(port_), silent(port_);
  const auto began = std::chrono::steady_clock::now();
  std::string_view text = "GET / HTTP/1.1\r\nHost: localhost\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
  std::string answer;
  while (answer.empty() && !text.empty()) {
    slow.send(text.substr(0, 1));
    text.remove_prefix(1);
    pollfd one{slow.fd(), POLLIN, 0};
    if (poll(&one, 1, 50) > 0) answer = slow.read_all();
  }
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2500ms);
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_TRUE(silent.closed());
}

TEST_F(front_test, one_byte_at_a_time_is_an_ordinary_request) {
  raw_socket s(port_);
  for (const char c : std::string("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"))
    ASSERT_TRUE(s.send(std::string_view(&c, 1)));
  EXPECT_NE(s.read_until("[hello]").find("HTTP/1.1 200 OK\r\n"), std::string::npos);
}

TEST_F(front_test, pipelined_requests_are_answered_in_order) {
  raw_socket s(port_);
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests += "GET /n" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
    requests += "POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  }
  requests += "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  s.send(requests);
  const auto answers = s.read_all();
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("GET /n" + std::to_string(i), at);
    ASSERT_NE(at, std::string::npos) << i;
    at = answers.find("[ab]", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_NE(answers.find("GET /last", at), std::string::npos);
}

TEST_F(front_test, handlers_cannot_split_the_answer_or_its_framing) {
  const auto answer = exchange_text("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(answer.find("\r\nX-Injected"), std::string::npos);
  EXPECT_NE(answer.find("\r\nContent-Length: 5\r\n"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("999"), std::string::npos);
}

TEST_F(front_test, head_has_the_length_but_no_body) {
  const auto answer = exchange_text("HEAD /abc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find("Content-Length: 9\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(front_test, http_1_0_is_answered_and_closed) {
  const auto answer = exchange_text("GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("GET /old")) << answer;
}

TEST_F(front_test, a_handler_that_forgets_or_throws_is_a_500_without_secrets) {
  for (const char* path : {"/forgets", "/throws"}) {
    const auto answer =
        exchange_text("GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
    EXPECT_EQ(answer.find("secret"), std::string::npos);
  }
}

TEST_F(front_test, routes_are_exclusive_and_go_away) {
  EXPECT_EQ(front_->route("", "/body/", echo).error().reason, "route_taken");
  EXPECT_EQ(front_->route("", "x", echo).error().code, errc::invalid_argument);
  front_->unroute("", "/");
  const auto answer = exchange_text("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 ")) << answer;
}

TEST_F(front_test, a_taken_port_and_a_bad_address_are_refused_early) {
  EXPECT_EQ(front_->listen("127.0.0.1", port_).error().reason, "address_in_use");
  EXPECT_EQ(front_->listen("nonsense", 0).error().reason, "not_an_address");
  EXPECT_EQ(front_->listen("192.0.2.1", 0).error().reason, "cannot_listen");
}

}  // namespace
}  // namespace caged::http::testing
