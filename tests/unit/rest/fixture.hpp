// The REST transport on a real front, over a small registry with one operation of every kind.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <caged/json_schema.hpp>
#include <map>

#include "plugins/transport/rest/service.hpp"
#include "tests/unit/http/fixture.hpp"

namespace caged::rest::testing {

using http::testing::eventually;
using http::testing::machine;
using http::testing::raw_socket;
using namespace std::chrono_literals;

// Operations held in memory: authenticates two keys, checks schemas, calls handlers. A real implementation of the
// interface, only without policies and events.
class small_registry final : public operations {
 public:
  std::vector<const operation_info*> list() const override {
    std::vector<const operation_info*> all;
    for (const auto& [name, e] : entries_) all.push_back(&e.info);
    return all;
  }
  const operation_info* find(std::string_view name) const override {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second.info;
  }
  task<caller> authenticate(std::string credential) override {
    caller who;
    who.key_id = credential;
    who.granted = credential == "caged_sk_reader" ? scope::read : scope::full;
    if (credential != "caged_sk_full" && credential != "caged_sk_reader")
      co_return fail(errc::unauthenticated, "unknown_key", "this key is not known", "Use another one.");
    co_return who;
  }
  task<caller> redeem_ticket(std::string ticket) override {
    if (ticket != "caged_wst_once" || ticket_used_.exchange(true))
      co_return fail(errc::unauthenticated, "bad_ticket", "this ticket is not good", "Get a new one.");
    caller who;
    who.key_id = "ticket";
    who.granted = scope::full;
    co_return who;
  }
  task<reply> invoke(call c) override {
    const auto it = entries_.find(c.operation);
    if (it == entries_.end()) co_return fail(errc::not_found, "no_operation", c.operation, "");
    const auto& e = it->second;
    if (c.who.granted < e.info.needs)
      co_return fail(errc::permission_denied, "scope", "this key may not do that", "Use another key.");
    auto schema = json_schema::compile(e.info.input);
    if (schema.has_error()) co_return schema.error();
    const auto fits = schema->check(c.arguments);
    if (fits.has_error()) co_return fits.error();
    co_return co_await e.handler(std::move(c));
  }
  result<void> add(operation_info info, operation_handler handler) override {
    const std::string name = info.name;
    entries_.emplace(name, entry{std::move(info), std::move(handler)});
    return {};
  }

 private:
  struct entry {
    operation_info info;
    operation_handler handler;
  };
  std::map<std::string, entry, std::less<>> entries_;
  std::atomic<bool> ticket_used_{false};
};

void fill(small_registry& registry);       // operations.cpp
extern std::atomic<int> streams_ended, looks_cancelled, talks_ended;
extern std::atomic<std::uint64_t> bytes_written;

class rest_fixture : public ::testing::Test {
 protected:
  rest_fixture() : rest_fixture(default_options()) {}
  explicit rest_fixture(service_options options) {
    fill(registry_);
    http::server_options front_options;
    front_options.bounds = http::testing::short_limits();
    front_ = http::server::make(machine_.executor(), std::move(front_options));
    url_ = front_->listen("127.0.0.1", 0).value();
    port_ = static_cast<std::uint16_t>(std::stoi(url_.substr(url_.rfind(':') + 1)));
    service_ = std::make_shared<service>(registry_, *front_, options, [](log_level, std::string) {});
    EXPECT_TRUE(service_->start().has_value());
    EXPECT_TRUE(
        front_
            ->route("", "/",
                    [s = service_](std::shared_ptr<http::exchange> ex) { return service::handle(s, std::move(ex)); })
            .has_value());
    front_->start();
    streams_ended = looks_cancelled = talks_ended = 0;
    bytes_written = 0;
  }
  ~rest_fixture() override {
    machine_.wait(front_->stop());
    EXPECT_EQ(front_->statistics().connections, 0u);
    front_->unroute("", "/");
  }
  static service_options default_options() {
    service_options o;
    o.json_body_bytes = 4096;
    o.keep_alive = 100ms;
    o.version = "1.2.3";
    return o;
  }
  http::client client_with(std::string key) {
    http::client_options options;
    options.base_url = url_;
    options.api_key = std::move(key);
    return http::client::make(std::move(options)).value();
  }
  // One request with the full key.
  http::client_response ask(std::string method, std::string target, std::string body = {}, http::headers fields = {},
                            std::string key = "caged_sk_full") {
    auto c = client_with(std::move(key));
    http::client_request r;
    r.method = std::move(method);
    r.target = std::move(target);
    r.body = std::move(body);
    r.fields = std::move(fields);
    r.silence = 5s;
    auto answer = c.request(std::move(r));
    EXPECT_TRUE(answer.has_value()) << describe(answer.has_error() ? answer.error() : error{});
    return answer.has_value() ? *answer : http::client_response{};
  }
  http::client_response ask_json(std::string method, std::string target, const json& body) {
    return ask(std::move(method), std::move(target), to_text(body), {{"Content-Type", "application/json"}});
  }

  machine machine_;
  small_registry registry_;
  std::shared_ptr<http::server> front_;
  std::shared_ptr<service> service_;
  std::string url_;
  std::uint16_t port_ = 0;
};

// The answer is a complete problem document with this reason.
inline void expect_problem(const http::client_response& r, int status, const std::string& code) {
  EXPECT_EQ(r.status, status) << r.body;
  if (r.status == 0) return;
  EXPECT_EQ(r.field("content-type"), "application/problem+json");
  const auto parsed = parse_json(r.body);
  ASSERT_TRUE(parsed.has_value()) << r.body;
  for (const char* key : {"type", "title", "status", "detail", "reason"}) EXPECT_TRUE(parsed->contains(key)) << key;
  EXPECT_EQ(parsed->at("status"), status);
  EXPECT_EQ(parsed->at("reason").at("code"), code) << r.body;
  EXPECT_FALSE(parsed->at("reason").at("message").get<std::string>().empty());
  EXPECT_FALSE(parsed->at("reason").at("action").get<std::string>().empty());
}

}  // namespace caged::rest::testing
