// Event streams and WebSockets through the REST transport.
#include "fixture.hpp"

namespace caged::rest::testing {
namespace {

class streams : public rest_fixture {
 protected:
  result<http::event_stream> follow(http::client& c, std::string target, http::headers fields = {}) {
    http::client_request r;
    r.target = std::move(target);
    r.fields = std::move(fields);
    r.silence = 3s;
    return c.events(std::move(r));
  }
};

TEST_F(streams, items_have_ids_types_and_one_line_of_data) {
  auto c = client_with("caged_sk_full");
  auto events = follow(c, "/v1/events");
  ASSERT_TRUE(events.has_value()) << describe(events.error());
  EXPECT_EQ(events->stream().head().field("cache-control"), "no-cache");
  EXPECT_EQ(events->stream().head().field("x-accel-buffering"), "no");
  for (int i = 1; i <= 3; ++i) {
    const auto item = events->next().value();
    ASSERT_TRUE(item.has_value());
    EXPECT_EQ(item->id, std::to_string(i));
    EXPECT_EQ(item->event, "count");
    EXPECT_EQ(parse_json(item->data).value().at("n"), i);
  }
  EXPECT_FALSE(events->next().value().has_value());
}

TEST_F(streams, a_stream_resumes_after_the_last_event) {
  auto c = client_with("caged_sk_full");
  auto events = follow(c, "/v1/events", {{"Last-Event-ID", "2"}});
  EXPECT_EQ(events.value().next().value()->id, "3");
  EXPECT_EQ(follow(c, "/v1/events", {{"Last-Event-ID", std::string(200, '1')}}).error().reason, "bad_event_id");
}

TEST_F(streams, a_failure_is_the_last_item) {
  auto c = client_with("caged_sk_full");
  for (const auto& [then, reason] :
       std::map<std::string, std::string>{{"fail", "sandbox_lost"}, {"throw", "stream_failed"}}) {
    auto events = follow(c, "/v1/events?then=" + then).value();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(events.next().value().has_value());
    const auto last = events.next().value();
    ASSERT_TRUE(last.has_value());
    EXPECT_EQ(last->event, "error");
    EXPECT_EQ(parse_json(last->data).value().at("reason").at("code"), reason);
    EXPECT_FALSE(events.next().value().has_value());
  }
}

TEST_F(streams, refusals_come_before_the_stream_begins) {
  auto c = client_with("caged_sk_wrong");
  EXPECT_EQ(follow(c, "/v1/events").error().reason, "unknown_key");
  auto d = client_with("caged_sk_full");
  EXPECT_EQ(follow(d, "/v1/events?unknown=1").error().reason, "invalid_input");
}

TEST_F(streams, a_silent_stream_is_kept_alive_and_let_go_when_its_reader_leaves) {
  {
    raw_socket s(port_);
    s.send("GET /v1/events?then=wait HTTP/1.1\r\nHost: localhost\r\nX-API-Key: caged_sk_full\r\n\r\n");
    const auto said = s.read_until(": keep-alive");
    EXPECT_NE(said.find("retry: "), std::string::npos);
    EXPECT_NE(said.find(": keep-alive"), std::string::npos);
  }
  EXPECT_TRUE(eventually([] { return streams_ended == 1; }));
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 0; }));
}

TEST_F(streams, draining_ends_streams_and_sockets_in_order) {
  auto c = client_with("caged_sk_full");
  auto events = follow(c, "/v1/events?then=wait").value();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(events.next().value().has_value());
  auto socket = c.websocket("/v1/sandboxes/a/terminal", "terminal").value();
  ASSERT_TRUE(socket.write({true, "x"}).has_value());
  ASSERT_TRUE(socket.read(3s).value().has_value());
  service_->drain();
  const auto end = events.next();
  ASSERT_TRUE(end.has_value()) << "the stream was cut, not ended";
  EXPECT_FALSE(end->has_value());
  EXPECT_FALSE(socket.read(3s).value().has_value());
  EXPECT_EQ(socket.close_code(), 1001);
  auto work = front_->drain(2s);
  EXPECT_TRUE(machine_.wait(std::move(work)).has_value());
  EXPECT_EQ(talks_ended, 1);
}

TEST_F(streams, a_socket_talks_and_ends_from_either_side) {
  auto c = client_with("caged_sk_full");
  auto socket = c.websocket("/v1/sandboxes/a/terminal?rows=5", "terminal");
  ASSERT_TRUE(socket.has_value()) << describe(socket.error());
  EXPECT_EQ(socket->subprotocol(), "terminal");
  ASSERT_TRUE(socket->write({false, std::string("\0\xff", 2)}).has_value());
  const auto answer = socket->read(3s).value();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->data, std::string("\0\xff!", 3));
  EXPECT_FALSE(answer->text);
  ASSERT_TRUE(socket->write({true, "end"}).has_value());
  EXPECT_FALSE(socket->read(3s).value().has_value());
  EXPECT_EQ(socket->close_code(), 1000);
  auto other = c.websocket("/v1/sandboxes/a/terminal", "").value();
  other.close();
  EXPECT_EQ(other.close_code(), 1000);
  EXPECT_TRUE(eventually([] { return talks_ended == 2; }));
}

TEST_F(streams, a_socket_that_is_refused_is_an_http_error) {
  auto c = client_with("caged_sk_full");
  EXPECT_EQ(c.websocket("/v1/sandboxes/refused/terminal", "").error().reason, "sandbox_not_found");
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal?rows=x", "").error().reason, "invalid_input");
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal", "", {{"Origin", "http://evil.example"}}).error().reason,
            "origin_refused");
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal", "", {{"Origin", "null"}}).error().code, errc::permission_denied);
  EXPECT_TRUE(c.websocket("/v1/sandboxes/a/terminal", "", {{"Origin", url_}}).has_value());
  auto reader = client_with("caged_sk_reader");
  EXPECT_EQ(reader.websocket("/v1/sandboxes/a/terminal", "").error().reason, "scope");
  const auto plain = ask("GET", "/v1/sandboxes/a/terminal");
  expect_problem(plain, 426, "websocket_needed");
  EXPECT_EQ(plain.field("upgrade"), "websocket");
}

TEST_F(streams, a_ticket_opens_one_socket_and_a_key_in_the_address_none) {
  auto c = client_with("");
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal", "").error().reason, "no_credential");
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal?token=caged_sk_full", "").error().reason, "key_in_url");
  EXPECT_TRUE(c.websocket("/v1/sandboxes/a/terminal?ticket=caged_wst_once", "").has_value());
  EXPECT_EQ(c.websocket("/v1/sandboxes/a/terminal?ticket=caged_wst_once", "").error().reason, "bad_ticket");
}

TEST_F(streams, a_failure_in_a_conversation_is_said_before_it_closes) {
  auto c = client_with("caged_sk_full");
  auto socket = c.websocket("/v1/sandboxes/a/terminal", "").value();
  ASSERT_TRUE(socket.write({true, "fail"}).has_value());
  const auto note = socket.read(3s).value();
  ASSERT_TRUE(note.has_value());
  const auto parsed = parse_json(note->data).value();
  EXPECT_EQ(parsed.at("type"), "error");
  EXPECT_EQ(parsed.at("reason"), "sandbox_lost");
  EXPECT_EQ(parsed.at("problem").at("status"), 503);
  EXPECT_FALSE(socket.read(3s).value().has_value());
  EXPECT_EQ(socket.close_code(), 1008);
}

}  // namespace
}  // namespace caged::rest::testing
