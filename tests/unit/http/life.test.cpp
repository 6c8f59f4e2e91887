// Limits on connections, vanished clients, draining and stopping.
#include "fixture.hpp"

namespace caged::http::testing {
namespace {

std::atomic<int> waiting{0}, saw_closed{0}, finished{0}, streams{0};

asio::awaitable<void> wait_for_leave(std::shared_ptr<exchange> ex) {
  ++waiting;
  co_await ex->wait_closed();
  ++saw_closed;
}

asio::awaitable<void> slow(std::shared_ptr<exchange> ex) {
  ++waiting;
  asio::steady_timer pause(co_await asio::this_coro::executor, 300ms);
  co_await pause.async_wait(use_tuple);
  response r;
  r.body = "slow";
  co_await ex->respond(std::move(r));
  ++finished;
}

asio::awaitable<void> endless(std::shared_ptr<exchange> ex) {
  headers none;
  co_await ex->start(200, none);
  ++streams;
  asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
  co_await never.async_wait(use_tuple);
  --streams;
}

limits few_connections() {
  limits l = short_limits();
  l.connections = 3;
  return l;
}

class life_test : public front_fixture {
 protected:
  life_test() : life_test(short_limits()) {}
  explicit life_test(limits l) : front_fixture(l) {
    static_cast<void>(front_->route("", "/leave", wait_for_leave));
    static_cast<void>(front_->route("", "/slow", slow));
    static_cast<void>(front_->route("", "/endless", endless));
    waiting = saw_closed = finished = streams = 0;
  }
};

class few_test : public life_test {
 protected:
  few_test() : life_test(few_connections()) {}
};

TEST_F(few_test, connections_over_the_limit_get_503_and_places_come_back) {
  auto first = std::make_unique<raw_socket>(port_);
  raw_socket second(port_), third(port_);
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 3; }));
  raw_socket fourth(port_);
  EXPECT_TRUE(fourth.read_all().starts_with("HTTP/1.1 503 "));
  first.reset();
  fourth.close_now();
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 2; }));
  raw_socket fifth(port_);
  fifth.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(fifth.read_until("slow").ends_with("slow"));
  EXPECT_EQ(front_->statistics().turned_away, 1u);
}

TEST_F(life_test, a_handler_learns_that_its_client_has_gone) {
  for (const bool reset : {false, true}) {
    const int before = saw_closed;
    {
      raw_socket s(port_);
      s.send("GET /leave HTTP/1.1\r\nHost: localhost\r\n\r\n");
      ASSERT_TRUE(eventually([before] { return waiting == before + 1; }));
      if (reset) s.reset_on_close();
    }
    EXPECT_TRUE(eventually([before] { return saw_closed == before + 1; }));
  }
}

TEST_F(life_test, requests_sent_ahead_do_not_hide_that_the_client_has_gone) {
  {
    raw_socket s(port_);
    s.send("GET /leave HTTP/1.1\r\nHost: localhost\r\n\r\n" + std::string(20'000, 'x'));
    ASSERT_TRUE(eventually([] { return waiting == 1; }));
  }
  EXPECT_TRUE(eventually([] { return saw_closed == 1; }));
}

TEST_F(life_test, an_idle_connection_is_closed_in_time) {
  raw_socket s(port_);
  s.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(s.read_until("slow").ends_with("slow"));
  EXPECT_EQ(s.read_all(), "");
  EXPECT_TRUE(s.closed());
}

TEST_F(life_test, draining_finishes_what_runs_and_closes_what_idles) {
  raw_socket idle(port_), busy(port_);
  idle.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
  idle.read_until("slow");
  busy.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(eventually([] { return waiting == 2; }));
  const auto began = std::chrono::steady_clock::now();
  auto work = front_->drain(3s);
  const auto drained = machine_.wait(std::move(work));
  EXPECT_TRUE(drained.has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2500ms);
  const auto answer = busy.read_all();
  EXPECT_TRUE(answer.ends_with("slow")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(idle.read_all(), "");
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_NE(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0) << "it still accepts";
  close(fd);
}

TEST_F(life_test, draining_gives_up_in_time_and_stopping_cuts_the_rest) {
  raw_socket s(port_);
  s.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(eventually([] { return streams == 1; }));
  auto work = front_->drain(100ms);
  const auto drained = machine_.wait(std::move(work));
  ASSERT_TRUE(drained.has_error());
  EXPECT_EQ(drained.error().code, errc::deadline_exceeded);
  machine_.wait(front_->stop());
  EXPECT_EQ(front_->statistics().connections, 0u);
  EXPECT_EQ(streams, 0) << "the handler was not cancelled";
}

TEST_F(life_test, hundreds_of_requests_wait_at_the_same_time) {
  std::vector<std::unique_ptr<raw_socket>> all;
  for (int i = 0; i < 400; ++i) all.push_back(std::make_unique<raw_socket>(port_));
  for (auto& s : all) s->send("GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  for (auto& s : all) EXPECT_TRUE(s->read_all(5s).ends_with("slow"));
}

}  // namespace
}  // namespace caged::http::testing
