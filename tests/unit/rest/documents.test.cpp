// Requests with a document or bytes on either side, and all the ways to be refused.
#include "fixture.hpp"

namespace caged::rest::testing {
namespace {

using documents = rest_fixture;

class limited : public rest_fixture {
 protected:
  limited() : rest_fixture(two_per_minute()) {}
  static service_options two_per_minute() {
    auto o = default_options();
    o.requests_per_minute = 2;
    return o;
  }
};

TEST_F(documents, every_refusal_is_a_problem_document) {
  expect_problem(ask("GET", "/"), 404, "no_such_route");
  expect_problem(ask("GET", "/v1/nothing"), 404, "no_such_route");
  expect_problem(ask("GET", "/v1/sandboxes/%2e%2e"), 404, "no_such_route");
  expect_problem(ask("GET", "/v1/sandboxes/x", {}, {}, ""), 401, "no_credential");
  expect_problem(ask("GET", "/v1/sandboxes/x", {}, {}, "caged_sk_wrong"), 401, "unknown_key");
  expect_problem(ask("GET", "/v1/sandboxes/x?ticket=caged_wst_once", {}, {}, ""), 401, "no_credential");
  expect_problem(ask("GET", "/v1/sandboxes/x?token=caged_sk_full", {}, {}, ""), 400, "key_in_url");
  expect_problem(ask("GET", "/v1/sandboxes/x", {}, {{"Authorization", "Basic abc"}}, ""), 401, "no_credential");
  expect_problem(ask("GET", "/v1/sandboxes/x", {}, {{"X-API-Key", "caged_sk_reader"}}), 401, "no_credential");
  expect_problem(ask("DELETE", "/v1/sandboxes/x", {}, {}, "caged_sk_reader"), 403, "scope");
  expect_problem(ask("GET", "/v1/sandboxes/UPPER"), 400, "invalid_input");
  expect_problem(ask("GET", "/v1/sandboxes/x?depth=much"), 400, "invalid_input");
  expect_problem(ask("GET", "/v1/sandboxes/x?depth=1&depth=2"), 400, "given_twice");
  expect_problem(ask("GET", "/v1/sandboxes/x?id=y"), 400, "given_twice");
  expect_problem(ask("GET", "/v1/sandboxes/x?depth=%ff"), 400, "not_utf8");
  expect_problem(ask_json("POST", "/v1/sandboxes", {{"cpus", 1}}), 400, "invalid_input");
  expect_problem(ask_json("POST", "/v1/sandboxes", json::array()), 400, "not_an_object");
  expect_problem(ask_json("POST", "/v1/sandboxes", nullptr), 400, "not_an_object");
  expect_problem(ask_json("POST", "/v1/sandboxes?template=a", {{"template", "b"}}), 400, "given_twice");
  expect_problem(ask_json("POST", "/v1/sandboxes", {{"template", std::string(5000, 'x')}}), 413, "body_too_large");
  expect_problem(ask("POST", "/v1/sandboxes", "{", {{"Content-Type", "application/json"}}), 400, "malformed_json");
  expect_problem(ask("POST", "/v1/sandboxes", "{}", {{"Content-Type", "text/plain"}}), 415, "unsupported_media_type");
  expect_problem(ask("POST", "/v1/sandboxes", "{}"), 415, "unsupported_media_type");
  expect_problem(ask("GET", "/v1/files/content?path=missing"), 404, "no_such_file");
}

TEST_F(documents, a_wrong_method_names_the_right_ones) {
  const auto answer = ask("PUT", "/v1/sandboxes/x");
  expect_problem(answer, 405, "method_not_allowed");
  EXPECT_EQ(answer.field("allow"), "DELETE, GET, HEAD, OPTIONS");
  const auto options = ask("OPTIONS", "/v1/sandboxes/x", {}, {}, "");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.field("allow"), "DELETE, GET, HEAD, OPTIONS");
}

TEST_F(documents, arguments_come_from_path_query_and_body) {
  const auto got = ask("GET", "/v1/sandboxes/a%2Fb%20c?depth=3&tags=1&tags=2").document().value();
  EXPECT_EQ(got.at("arguments"), json({{"id", "a/b c"}, {"depth", 3}, {"tags", {1, 2}}}));
  EXPECT_EQ(got.at("who"), "caged_sk_full");
  EXPECT_EQ(got.at("transport"), "rest");
  EXPECT_EQ(ask("GET", "/v1/sandboxes/a?tags=4,5").document().value().at("arguments").at("tags"), json({4, 5}));
  const auto made = ask_json("POST", "/v1/sandboxes?wait", {{"template", "host"}});
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.document().value().at("arguments"), json({{"template", "host"}, {"wait", true}}));
  EXPECT_EQ(made.field("etag"), "\"e\"");
  const auto gone = ask("DELETE", "/v1/sandboxes/a");
  EXPECT_EQ(gone.status, 204);
  EXPECT_EQ(gone.body, "");
  EXPECT_EQ(ask("GET", "/v1/sandboxes/a", {}, {{"X-API-Key", "caged_sk_reader"}}, "").status, 200);
}

TEST_F(documents, request_ids_are_echoed_or_made) {
  EXPECT_EQ(ask("GET", "/v1/sandboxes/a", {}, {{"X-Request-Id", "mine-1"}}).field("x-request-id"), "mine-1");
  EXPECT_TRUE(ask("GET", "/nothing", {}, {{"X-Request-Id", "with blank"}}).field("x-request-id").starts_with("req-"));
}

TEST_F(documents, a_bug_in_an_operation_is_a_500_and_the_server_lives) {
  EXPECT_EQ(ask_json("POST", "/v1/bug", json::object()).status, 500);
  EXPECT_EQ(ask("GET", "/healthz", {}, {}, "").status, 200);
}

TEST_F(documents, a_look_nobody_waits_for_is_given_up) {
  {
    raw_socket s(port_);
    s.send("GET /v1/look HTTP/1.1\r\nHost: localhost\r\nX-API-Key: caged_sk_full\r\n\r\n");
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_TRUE(eventually([] { return looks_cancelled == 1; }));
}

TEST_F(documents, bytes_come_whole_in_ranges_and_as_head) {
  const auto whole = ask("GET", "/v1/files/content?path=x");
  EXPECT_EQ(whole.body, "0123456789abcdefghij");
  EXPECT_EQ(whole.field("content-length"), "20");
  EXPECT_EQ(whole.field("content-type"), "text/plain");
  EXPECT_EQ(whole.field("etag"), "\"x\"");
  EXPECT_EQ(whole.field("x-content-type-options"), "nosniff");
  const auto range = [this](const char* r) { return ask("GET", "/v1/files/content?path=x", {}, {{"Range", r}}); };
  const auto middle = range("bytes=5-11");
  EXPECT_EQ(middle.status, 206);
  EXPECT_EQ(middle.body, "56789ab");
  EXPECT_EQ(middle.field("content-range"), "bytes 5-11/20");
  EXPECT_EQ(range("bytes=15-").body, "fghij");
  EXPECT_EQ(range("bytes=-3").body, "hij");
  EXPECT_EQ(range("bytes=-300").body, whole.body);
  EXPECT_EQ(range("bytes=1-900").body.size(), 19u);
  EXPECT_EQ(range("bytes=0-1,4-5").status, 200);
  const auto beyond = range("bytes=20-");
  expect_problem(beyond, 416, "range_not_satisfiable");
  EXPECT_EQ(beyond.field("content-range"), "bytes */20");
  const auto head = ask("HEAD", "/v1/files/content?path=x");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("content-length"), "20");
}

TEST_F(documents, files_are_written_as_bytes_or_as_json) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  const auto raw = ask("PUT", "/v1/files/content?path=x", bytes, {{"Content-Type", "text/plain"}}).document().value();
  EXPECT_EQ(raw.at("size"), 256);
  EXPECT_EQ(raw.at("media_type"), "text/plain");
  EXPECT_EQ(raw.at("arguments"), json({{"path", "x"}}));
  const auto as_json = ask_json("PUT", "/v1/files/content?path=x", {{"content", "hello"}}).document().value();
  EXPECT_EQ(as_json.at("arguments"), json({{"path", "x"}, {"content", "hello"}}));
  EXPECT_FALSE(as_json.contains("size")) << "a body was passed";
}

TEST_F(documents, an_upload_that_breaks_off_reaches_the_operation_as_an_error) {
  {
    raw_socket s(port_);
    s.send(
        "PUT /v1/files/content?path=x HTTP/1.1\r\nHost: localhost\r\nX-API-Key: caged_sk_full\r\nContent-Length: "
        "1000\r\n\r\nabc");
    EXPECT_TRUE(eventually([] { return bytes_written == 3u; }));
  }
  EXPECT_TRUE(eventually([this] { return front_->statistics().connections == 0; }));
}

TEST_F(documents, a_body_that_stalls_is_408) {
  raw_socket s(port_);
  s.send(
      "POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nX-API-Key: caged_sk_full\r\nContent-Type: "
      "application/json\r\nContent-Length: 9\r\n\r\n{");
  EXPECT_TRUE(s.read_all().starts_with("HTTP/1.1 408 "));
}

TEST_F(limited, the_rate_is_limited_per_key_and_said) {
  const auto first = ask("GET", "/v1/sandboxes/a");
  EXPECT_EQ(first.field("x-ratelimit-limit"), "2");
  const auto second = ask("GET", "/v1/sandboxes/a");
  const auto third = ask("GET", "/v1/sandboxes/a");
  // The window may end in between; then the third is the first of the next.
  if (first.field("x-ratelimit-reset") == third.field("x-ratelimit-reset")) {
    EXPECT_EQ(second.field("x-ratelimit-remaining"), "0");
    expect_problem(third, 429, "rate_limited");
  }
  EXPECT_EQ(ask("GET", "/v1/sandboxes/a", {}, {}, "caged_sk_reader").status, 200);
  limiter l(1);
  const limiter::time_point now{};
  EXPECT_TRUE(l.count("a", now).allowed);
  EXPECT_FALSE(l.count("a", now).allowed);
  EXPECT_TRUE(l.count("b", now).allowed);
  EXPECT_TRUE(l.count("a", now + 60s).allowed);
}

TEST_F(documents, metrics_need_a_key_and_count) {
  expect_problem(ask("GET", "/metrics", {}, {}, ""), 401, "no_credential");
  ask("GET", "/v1/sandboxes/a");
  ask("GET", "/v1/nothing");
  // A request is counted when its answer is out, which the client may see first.
  std::string text;
  const auto until = std::chrono::steady_clock::now() + 10s;
  do {
    text = ask("GET", "/metrics", {}, {}, "caged_sk_reader").body;
  } while (text.find("route=\"none\"") == std::string::npos && std::chrono::steady_clock::now() < until);
  for (const char* line : {"caged_build_info{version=\"1.2.3\"} 1\n",
                           "caged_http_requests_total{route=\"sandbox.get\",status=\"200\"} 1\n",
                           "caged_http_requests_total{route=\"none\",status=\"404\"} 1\n",
                           "caged_sandboxes{status=\"running\"} 2\n", "caged_sandboxes{status=\"paused\"} 0\n",
                           "caged_http_request_duration_seconds_count{route=\"sandbox.get\"} 1\n",
                           "# TYPE process_resident_memory_bytes gauge\n", "caged_http_connections "})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(documents, health_is_open_and_says_when_it_drains) {
  EXPECT_EQ(ask("GET", "/healthz", {}, {}, "").document().value().at("status"), "ok");
  expect_problem(ask("POST", "/healthz", {}, {}, ""), 405, "method_not_allowed");
  service_->drain();
  EXPECT_EQ(ask("GET", "/healthz", {}, {}, "").status, 503);
}

}  // namespace
}  // namespace caged::rest::testing
