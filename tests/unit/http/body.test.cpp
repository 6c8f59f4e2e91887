// Request bodies and streamed answers: sizes, stalls, aborts and memory.
#include <fstream>

#include "fixture.hpp"

namespace caged::http::testing {
namespace {

std::atomic<std::uint64_t> swallowed{0};
std::atomic<int> cancelled{0}, stalled{0};

// Reads the body piece by piece and answers how long it was.
asio::awaitable<void> swallow(std::shared_ptr<exchange> ex) {
  const auto body = ex->body();
  std::uint64_t total = 0;
  while (true) {
    auto piece = co_await body->read();
    if (piece.has_error()) {
      if (piece.error().code == errc::cancelled) ++cancelled;
      if (piece.error().code == errc::deadline_exceeded) ++stalled;
      response r = problem_response(piece.error());
      co_await ex->respond(std::move(r));
      co_return;
    }
    if (piece->empty()) break;
    total += piece->size();
    swallowed = total;
  }
  response r;
  r.body = std::to_string(total);
  co_await ex->respond(std::move(r));
}

asio::awaitable<void> small_body(std::shared_ptr<exchange> ex) {
  auto body = co_await ex->read_body(10);
  response r;
  if (body.has_error())
    r = problem_response(body.error());
  else
    r.body = *body;
  co_await ex->respond(std::move(r));
}

asio::awaitable<void> ignore_body(std::shared_ptr<exchange> ex) {
  response r;
  r.body = "ignored";
  co_await ex->respond(std::move(r));
}

// Writes for ever; ends when the client takes no more.
std::atomic<std::uint64_t> poured{0};
std::atomic<int> pour_ends{0};
asio::awaitable<void> pour(std::shared_ptr<exchange> ex) {
  headers none;
  auto sent = co_await ex->start(200, none);
  while (sent.has_value()) {
    std::string piece(64 * 1024, 'x');
    sent = co_await ex->write(std::move(piece));
    if (sent.has_value()) poured += 64 * 1024;
  }
  ++pour_ends;
}

asio::awaitable<void> too_short(std::shared_ptr<exchange> ex) {
  headers fields{{"Content-Length", "10"}};
  co_await ex->start(200, fields);
  co_await ex->write("12345");
  const auto done = co_await ex->finish();
  EXPECT_TRUE(done.has_error());
}

asio::awaitable<void> breaks_off(std::shared_ptr<exchange> ex) {
  headers none;
  co_await ex->start(200, none);
  co_await ex->write("half");
}

class body_test : public front_fixture {
 protected:
  body_test() {
    static_cast<void>(front_->route("", "/swallow", swallow));
    static_cast<void>(front_->route("", "/small", small_body));
    static_cast<void>(front_->route("", "/ignore", ignore_body));
    static_cast<void>(front_->route("", "/pour", pour));
    static_cast<void>(front_->route("", "/short", too_short));
    static_cast<void>(front_->route("", "/breaks", breaks_off));
    cancelled = stalled = pour_ends = 0;
    swallowed = poured = 0;
  }
};

std::size_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "VmRSS:") {
      std::size_t kib = 0;
      status >> kib;
      return kib;
    }
  return 0;
}

TEST_F(body_test, a_body_over_the_limit_is_413_before_it_is_sent) {
  for (const char* length : {"Content-Length: 11\r\n", "Content-Length: 999999999999\r\nExpect: 100-continue\r\n"}) {
    raw_socket s(port_);
    s.send("POST /small HTTP/1.1\r\nHost: localhost\r\n" + std::string(length) + "\r\n");
    const auto answer = s.read_until("}}");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
  }
  raw_socket s(port_);
  s.send("POST /small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n");
  EXPECT_TRUE(s.read_all().starts_with("HTTP/1.1 413 "));
}

TEST_F(body_test, malformed_chunks_are_400_and_close) {
  raw_socket s(port_);
  s.send("POST /small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  const auto answer = s.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_TRUE(s.closed());
}

TEST_F(body_test, continue_is_said_only_when_the_body_is_wanted) {
  raw_socket s(port_);
  s.send("POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(s.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  s.send("ok");
  EXPECT_TRUE(s.read_until("ok").starts_with("HTTP/1.1 200 "));
}

TEST_F(body_test, an_unread_body_does_not_become_the_next_request) {
  raw_socket s(port_);
  s.send(
      "POST /ignore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 39\r\n\r\nGET /evil HTTP/1.1\r\nHost: "
      "localhost\r\n\r\n"
      "POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
  const auto answers = s.read_all();
  EXPECT_NE(answers.find("ignored"), std::string::npos);
  EXPECT_TRUE(answers.ends_with("hi")) << answers;
  EXPECT_EQ(front_->statistics().requests, 2u);
}

TEST_F(body_test, chunk_boundaries_may_fall_anywhere) {
  raw_socket s(port_);
  const std::string body = "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
  s.send("POST /small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : body) {
    s.send(std::string_view(&c, 1));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(s.read_until("abcde").ends_with("abcde"));
}

TEST_F(body_test, an_upload_that_stalls_is_ended_and_one_that_vanishes_too) {
  raw_socket slow(port_);
  slow.send("POST /swallow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc");
  const auto answer = slow.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 504 ")) << answer;
  EXPECT_EQ(stalled, 1);
  {
    raw_socket gone(port_);
    gone.send("POST /swallow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc");
    EXPECT_TRUE(eventually([] { return swallowed == 3u; }));
    gone.reset_on_close();
  }
  EXPECT_TRUE(eventually([] { return cancelled == 1; }));
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 0; }));
}

TEST_F(body_test, a_large_upload_keeps_memory_flat) {
  constexpr std::uint64_t size = 256u << 20;
  auto c = make_client();
  client_request r;
  r.method = "PUT";
  r.target = "/swallow";
  r.silence = 20s;
  auto left = std::make_shared<std::uint64_t>(size);
  const auto before = resident_kib();
  r.body_source = [left]() -> result<std::string> {
    std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(*left, 256 * 1024)), 'x');
    *left -= piece.size();
    return piece;
  };
  const auto answer = c.request(std::move(r));
  ASSERT_TRUE(answer.has_value()) << describe(answer.error());
  EXPECT_EQ(answer->body, std::to_string(size));
  EXPECT_LT(resident_kib(), before + 32 * 1024);
}

TEST_F(body_test, a_client_that_reads_nothing_is_cut_after_the_stall_time) {
  raw_socket s(port_);
  s.send("GET /pour HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(eventually([] { return pour_ends == 1; }, 8s));
  EXPECT_LT(poured, 64u << 20) << "backpressure did not reach the handler";
}

TEST_F(body_test, an_unfinished_answer_looks_broken) {
  auto c = make_client();
  for (const char* path : {"/short", "/breaks"}) {
    client_request r;
    r.target = path;
    const auto answer = c.request(std::move(r));
    ASSERT_TRUE(answer.has_error()) << path;
    EXPECT_EQ(answer.error().code, errc::unavailable);
  }
}

}  // namespace
}  // namespace caged::http::testing
