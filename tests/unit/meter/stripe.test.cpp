// billing.stripe against a server that keeps Stripe's rules about idempotency, in this process: requests as its API
// documents them. tests/conformance/stripe runs it against Stripe's own mock.
#include <caged/http_front.hpp>
#include <caged/testing/fakes.hpp>
#include <fstream>
#include <random>

#include "plugins/billing/stripe/provider.hpp"
#include "plugins/billing/stripe/webhook.hpp"
#include "tests/unit/storage/world.hpp"

namespace caged::billing::stripe {
namespace {

using testing::fake_host;

TEST(StripeWebhook, OnlyWhatStripeSignedNowIsTaken) {
  const std::string secret = "whsec_test", body = "{\"id\":\"evt_1\"}";
  // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
  const std::string right = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
  const std::int64_t now = 1'700'000'000;
  EXPECT_TRUE(check_signature("t=1700000000,v1=" + right, body, secret, now));
  EXPECT_TRUE(check_signature("t=1700000000,v1=" + std::string(64, '0') + ",v1=" + right, body, secret, now + 299));
  EXPECT_FALSE(check_signature("t=1700000000,v1=" + right, body, secret, now + 301)) << "played again";
  EXPECT_FALSE(check_signature("t=1700000000,v1=" + right, body + " ", secret, now));
  EXPECT_FALSE(check_signature("t=1700000001,v1=" + right, body, secret, now));
  EXPECT_FALSE(check_signature("t=1700000000,v0=" + right, body, secret, now));
  EXPECT_FALSE(check_signature("v1=" + right, body, secret, now));
  EXPECT_FALSE(check_signature("t=1700000000,v1=" + right, body, "other", now));
  EXPECT_FALSE(check_signature("t=1700000000,v1=" + right, body, "", now));
  EXPECT_FALSE(check_signature("", body, secret, now));
}

// Takes an identifier once, and loses some answers.
struct fake_stripe {
  explicit fake_stripe(asio::any_io_executor executor) : front(http::server::make(std::move(executor), {})) {
    address = front->listen("127.0.0.1", 0).value();
    (void)front->route("", "/", [this](std::shared_ptr<http::exchange> x) { return answer(std::move(x)); });
    front->start();
  }
  asio::awaitable<void> answer(std::shared_ptr<http::exchange> x) {
    auto body = co_await x->read_body(1 << 20);
    http::response r;
    r.fields.emplace_back("content-type", "application/json");
    const std::string path = x->head().path, key(x->head().field("idempotency-key"));
    r.body = "{\"id\":\"cus_1\",\"url\":\"https://stripe.invalid/page\"}";
    if (path == "/v1/customers" && seen.insert(key).second) ++customers;
    if (path == "/v1/billing/meter_events") {
      const auto at = body->find("payload%5Bvalue%5D=");
      if (seen.insert(key).second) billed += std::stoll(body->substr(at + 19));
      EXPECT_NE(body->find("identifier=" + key), std::string::npos) << *body;
    }
    if (x->head().field("authorization") != "Bearer sk_test_1") r.status = 401;
    if (!calm && random() % 3 == 0) r.status = 500;  // taken, and nobody is told
    (void)co_await x->respond(std::move(r));
  }
  std::shared_ptr<http::server> front;
  std::string address;
  std::set<std::string> seen;
  std::int64_t billed = 0;
  int customers = 0;
  bool calm = false;
  std::mt19937 random{9};
};

TEST(Stripe, LostAnswersAndRestartsBillNothingTwice) {
  testing::folder at;
  fake_host host;
  storage_sqlite::sqlite_storage records(testing::settings_in(at.path()));
  ASSERT_TRUE(host.run(records.open()));
  host.add_service<storage>(&records);
  fake_stripe there(host.executor());
  const auto key = at.path() / "key";
  std::ofstream(key) << "sk_test_1\n";
  json config{{"key_file", key.string()}, {"base_url", there.address}, {"prices", {{"pro", "price_1"}}}};
  {
    provider open_to_all(host, config);
    std::filesystem::permissions(key, std::filesystem::perms(0644));
    EXPECT_EQ(host.run(open_to_all.open()).error().reason, "secret_readable");
    std::filesystem::permissions(key, std::filesystem::perms(0600));
  }
  auto stripe = std::make_unique<provider>(host, config);
  ASSERT_TRUE(host.run(stripe->open()));
  std::map<std::string, std::int64_t> totals;
  std::mt19937 random(4);
  const auto lines = [&] {
    std::vector<usage_line> all;
    for (const auto& [id, amount] : totals) all.push_back({id, "local", "2026-01-01", "cage-a", "sess-a", "compute", "", amount, amount});
    return all;
  };
  for (int step = 0; step < 60; ++step) {
    totals["2026-01-01|cage-a|sess-a|caged|" + std::to_string(random() % 4)] += static_cast<std::int64_t>(random() % 100);
    (void)host.run(stripe->report(lines()));
    if (step % 7 != 0) continue;
    stripe = std::make_unique<provider>(host, config);
    ASSERT_TRUE(host.run(stripe->open()));
  }
  there.calm = true;
  auto last = host.run(stripe->report(lines()));
  ASSERT_TRUE(last) << describe(last.error());
  std::int64_t expected = 0;
  for (const auto& [id, amount] : totals) expected += amount;
  EXPECT_EQ(there.billed, expected);
  EXPECT_EQ(there.customers, 1);
  EXPECT_EQ(host.run(stripe->checkout("nonesuch")).error().reason, "unknown_plan");
  EXPECT_EQ(host.run(stripe->checkout("pro")).value(), "https://stripe.invalid/page");
  EXPECT_EQ(host.run(stripe->subscription()).value()["status"], "none");
  stripe.reset();
  auto stopping = asio::co_spawn(host.executor(), there.front->stop(), asio::use_future);
  stopping.get();
  ASSERT_TRUE(host.run(records.close()));
}

TEST(Stripe, AKeyIsNotSentInTheClear) {
  testing::folder at;
  fake_host host;
  const auto key = at.path() / "key";
  std::ofstream(key) << "sk_test_1\n";
  std::filesystem::permissions(key, std::filesystem::perms(0600));
  provider p(host, {{"key_file", key.string()}, {"base_url", "http://stripe.invalid"}});
  EXPECT_EQ(host.run(p.open()).error().reason, "stripe_in_clear");
}

}  // namespace
}  // namespace caged::billing::stripe
