// The blocking client against servers that misbehave, and against the front.
#include <sys/un.h>

#include "fixture.hpp"

namespace caged::http::testing {
namespace {

// Listens, takes one connection, reads a head, and says exactly this.
class canned_server {
 public:
  explicit canned_server(std::string answer) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    bind(fd_, reinterpret_cast<sockaddr*>(&at), size);
    listen(fd_, 8);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this, text = std::move(answer)] {
      const int one = accept(fd_, nullptr, nullptr);
      char head[4096];
      if (recv(one, head, sizeof head, 0) > 0) send(one, text.data(), text.size(), MSG_NOSIGNAL);
      shutdown(one, SHUT_WR);
      while (recv(one, head, sizeof head, 0) > 0) continue;
      close(one);
    });
  }
  ~canned_server() {
    thread_.join();
    close(fd_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  int fd_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

client connect_to(std::string url, int cancel_fd = -1) {
  client_options options;
  options.base_url = std::move(url);
  options.cancel_fd = cancel_fd;
  return client::make(std::move(options)).value();
}

result<client_response> ask(const std::string& answer) {
  canned_server server(answer);
  auto c = connect_to(server.url());
  client_request r;
  r.target = "/";
  r.silence = 2s;
  return c.request(std::move(r));
}

TEST(client_test, bad_urls_are_named) {
  for (const char* url : {"", "localhost:8080", "ftp://x", "http://", "http://a b", "unix://relative", "http://x?y",
                          "http://x:99999999"}) {
    client_options options;
    options.base_url = url;
    const auto made = client::make(std::move(options));
    ASSERT_TRUE(made.has_error()) << url;
    EXPECT_EQ(made.error().reason, "bad_url");
  }
}

TEST(client_test, no_server_is_said_plainly) {
  auto c = connect_to("http://127.0.0.1:1");
  const auto answer = c.call("GET", "/");
  ASSERT_TRUE(answer.has_error());
  EXPECT_EQ(answer.error().reason, "no_server");
  EXPECT_NE(answer.error().message.find("there is no server at http://127.0.0.1:1"), std::string::npos);
  auto local = connect_to("unix:///nonexistent/caged.sock");
  EXPECT_EQ(local.call("GET", "/").error().reason, "no_server");
}

TEST(client_test, broken_answers_are_never_a_success) {
  for (const char* answer : {"", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 abc\r\n\r\n",
                             "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"}) {
    const auto got = ask(answer);
    ASSERT_TRUE(got.has_error()) << answer;
    EXPECT_EQ(got.error().code, errc::unavailable) << answer;
  }
}

TEST(client_test, interim_answers_and_bodies_until_close_are_understood) {
  const auto got = ask("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n\r\nall of it");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->body, "all of it");
  EXPECT_EQ(got->field("x-a"), "b");
}

TEST(client_test, problems_come_back_as_errors) {
  const std::string body =
      R"({"status":409,"detail":"d","reason":{"code":"c","message":"m","action":"a","path":"/p"}})";
  const auto got = ask("HTTP/1.1 409 Conflict\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto document = got.value().document();
  ASSERT_TRUE(document.has_error());
  EXPECT_EQ(document.error().code, errc::conflict);
  EXPECT_EQ(document.error().reason, "c");
  EXPECT_EQ(document.error().action, "a");
  EXPECT_EQ(document.error().path, "/p");
  const auto other = ask("HTTP/1.1 502 Bad Gateway\r\n\r\n<html>");
  EXPECT_EQ(other.value().failure().reason, "http_502");
}

TEST(client_test, requests_that_would_split_are_not_sent) {
  auto c = connect_to("http://127.0.0.1:1");
  client_request r;
  r.target = "/a b";
  EXPECT_EQ(c.request(r).error().reason, "bad_request");
  r.target = "/a";
  r.fields = {{"X", "a\r\nY: b"}};
  EXPECT_EQ(c.request(r).error().reason, "bad_request");
}

TEST(client_test, silence_and_cancellation_end_a_call) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  bind(listener, reinterpret_cast<sockaddr*>(&at), size);
  listen(listener, 8);
  getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  int wake[2];
  ASSERT_EQ(pipe(wake), 0);
  auto c = connect_to("http://127.0.0.1:" + std::to_string(ntohs(at.sin_port)), wake[0]);
  EXPECT_EQ(c.call("GET", "/", nullptr, 100ms).error().code, errc::deadline_exceeded);
  std::thread later([&] {
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(write(wake[1], "x", 1), 1);
  });
  EXPECT_EQ(c.call("GET", "/", nullptr, 10s).error().code, errc::cancelled);
  later.join();
  for (const int fd : {listener, wake[0], wake[1]}) close(fd);
}

TEST(client_test, events_are_read_as_the_standard_says) {
  canned_server server(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
      ": comment\n\nretry: 5\n\nid: 7\nevent: exit\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\nid\ndata: y\n\ndata: cut");
  auto c = connect_to(server.url());
  client_request r;
  r.target = "/";
  auto events = c.events(std::move(r));
  ASSERT_TRUE(events.has_value());
  auto first = events->next().value();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->id, "7");
  EXPECT_EQ(first->event, "exit");
  EXPECT_EQ(first->data, "{\"a\":\n1}");
  auto second = events->next().value();
  EXPECT_EQ(second->data, "x");
  EXPECT_EQ(second->event, "message");
  EXPECT_EQ(second->id, "7");
  EXPECT_EQ(events->next().value()->id, "");
  EXPECT_FALSE(events->next().value().has_value()) << "an event that was cut off is none";
}

TEST(client_test, it_speaks_over_unix_sockets) {
  std::string folder = "/tmp/caged-test-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/s";
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof at.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  listen(listener, 1);
  std::thread server([listener] {
    const int one = accept(listener, nullptr, nullptr);
    char head[1000];
    EXPECT_GT(recv(one, head, sizeof head, 0), 0);
    const std::string_view text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42";
    EXPECT_EQ(send(one, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    close(one);
  });
  auto c = connect_to("unix://" + path);
  EXPECT_EQ(c.call("GET", "/").value(), json(42));
  server.join();
  close(listener);
  unlink(path.c_str());
  rmdir(folder.c_str());
}

asio::awaitable<void> say_remote(std::shared_ptr<exchange> ex) {
  response r;
  r.body = ex->head().field("authorization");
  co_await ex->respond(std::move(r));
}

class client_front_test : public front_fixture {
 protected:
  client_front_test() { static_cast<void>(front_->route("", "/", say_remote)); }
};

TEST_F(client_front_test, one_connection_serves_many_requests_and_a_closed_one_is_replaced) {
  client_options options;
  options.base_url = url_;
  options.api_key = "caged_sk_x";
  auto c = client::make(std::move(options)).value();
  client_request r;
  r.target = "/";
  for (int i = 0; i < 20; ++i) EXPECT_EQ(c.request(r).value().body, "Bearer caged_sk_x");
  EXPECT_EQ(front_->statistics().accepted, 1u);
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 0; }, 5s)) << "idle for ever";
  EXPECT_EQ(c.request(r).value().status, 200);
  EXPECT_EQ(front_->statistics().accepted, 2u);
}

TEST(client_test, components_are_escaped) { EXPECT_EQ(encode_component("a/b c?ü~-._"), "a%2Fb%20c%3F%C3%BC~-._"); }

}  // namespace
}  // namespace caged::http::testing
