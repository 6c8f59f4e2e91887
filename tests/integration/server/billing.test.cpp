// Money through a real server: budgets that pause and resume, statements that agree with usage, across crashes.
#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Billing : public ::testing::Test {
 protected:
  void SetUp() override { data = temporary_folder(); }
  void begin(const std::string& text) {
    config = text;
    host.emplace(data, config);
    ASSERT_TRUE(host->healthy()) << host->log();
    client.emplace(host->client());
  }
  void TearDown() override {
    for (const auto& id : made) (void)client->call("DELETE", "/v1/sandboxes/" + id);
    client.reset();
    host.reset();
    std::error_code ignored;
    std::filesystem::remove_all(data, ignored);
  }
  json call(const std::string& method, const std::string& target, const json& body = nullptr) {
    auto answer = client->call(method, target, body);
    EXPECT_TRUE(answer) << method << " " << target << ": " << (answer ? "" : describe(answer.error()));
    return answer ? *answer : json();
  }
  error refused(const std::string& method, const std::string& target, const json& body = nullptr) {
    auto answer = client->call(method, target, body);
    EXPECT_FALSE(answer) << method << " " << target;
    return answer ? error{} : answer.error();
  }
  std::string make(json body = json::object()) {
    body["wait"] = true;
    const json box = call("POST", "/v1/sandboxes", body);
    made.push_back(box.value("id", ""));
    return made.back();
  }
  std::string status(const std::string& id) { return call("GET", "/v1/sandboxes/" + id)["status"].get<std::string>(); }
  std::string text(const std::string& target) {
    http::client_request request;
    request.target = target;
    auto answer = client->request(request);
    EXPECT_TRUE(answer && answer->ok()) << target;
    return answer ? answer->body : "";
  }

  std::filesystem::path data;
  std::string config;
  std::optional<server> host;
  std::optional<http::client> client;
  std::vector<std::string> made;
};

TEST_F(Billing, ASpentBudgetPausesAndARaisedOneResumes) {
  begin("budgets: {at_limit: pause}\n");
  const std::string id = make({{"budget", 0.000001}});
  ASSERT_TRUE(eventually([&] { return status(id) == "paused"; }));
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["held"], "budget");
  EXPECT_EQ(refused("POST", "/v1/sandboxes/" + id + "/resume").reason, "budget_exhausted");
  call("PATCH", "/v1/sandboxes/" + id, {{"budget", 5}});
  EXPECT_EQ(status(id), "running");
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["held"], nullptr);
  EXPECT_EQ(call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "echo on"}})["stdout"], "on\n");
}

TEST_F(Billing, BudgetsOfSessionAndAccountHoldAll) {
  begin("budgets: {at_limit: pause, session: 0.000001}\n");
  const std::string id = make();
  ASSERT_TRUE(eventually([&] { return status(id) == "paused"; }));
  call("PUT", "/v1/billing/budgets", {{"session", nullptr}});
  EXPECT_EQ(status(id), "running");
  call("PUT", "/v1/billing/budgets", {{"account", 0.000001}});
  ASSERT_TRUE(eventually([&] { return status(id) == "paused"; }));
  EXPECT_EQ(refused("POST", "/v1/sandboxes", json::object()).reason, "budget_exhausted");
  // What was set outlives the server and what its file says.
  host.reset();
  begin(config);
  EXPECT_EQ(call("GET", "/v1/billing/budgets")["account"], 0.000001);
  EXPECT_EQ(call("GET", "/v1/billing/budgets")["session"], nullptr);
  EXPECT_EQ(status(id), "paused");
  call("PUT", "/v1/billing/budgets", {{"account", 100}});
  EXPECT_EQ(status(id), "running");
  const json alerts = call("GET", "/v1/alerts")["alerts"];
  EXPECT_TRUE(std::any_of(alerts.begin(), alerts.end(), [](const json& a) { return a["title"] == "budget_exceeded"; })) << alerts;
}

TEST_F(Billing, TheLastStateIsKeptBeforeABudgetEndsASandbox) {
  begin("budgets: {final_snapshot: true}\n");
  const std::string id = make({{"budget", 0.000001}});
  ASSERT_TRUE(eventually([&] { return status(id) == "destroyed"; }, std::chrono::seconds(60)));
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["ended_reason"], "budget_exceeded");
  const json kept = call("GET", "/v1/sandboxes/" + id + "/snapshots");
  ASSERT_EQ(kept.size(), 1u) << host->log();
  EXPECT_EQ(kept[0]["trigger"], "budget");
}

TEST_F(Billing, PlansLimitHowManyRun) {
  begin("budgets: {plan: free}\n");
  make();
  make();
  const auto e = refused("POST", "/v1/sandboxes", json::object());
  EXPECT_EQ(e.code, errc::permission_denied);
  EXPECT_EQ(e.reason, "plan_limit_reached");
  EXPECT_EQ(call("GET", "/v1/billing/subscription")["tier"], "free");
}

// Pauses, resumes, kills of the server: the books hold each second that the sandbox ran, once.
TEST_F(Billing, TheBooksAgreeWithTheTimeAcrossCrashes) {
  begin("budgets: {interval: 1s}\n");
  const std::string id = make({{"timeout", 0}});
  std::mt19937 random(5);
  for (int round = 0; round < 6; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 700));
    switch (random() % 3) {
      case 0:
        call("POST", "/v1/sandboxes/" + id + (status(id) == "paused" ? "/resume" : "/pause"));
        break;
      case 1:
        (void)text("/v1/billing/statement");
        break;
      default:
        host->end(SIGKILL);
        host.reset();
        begin(config);
    }
  }
  call("DELETE", "/v1/sandboxes/" + id);
  const json usage = call("GET", "/v1/billing/usage");
  const json statement = json::parse(text("/v1/billing/statement"));
  EXPECT_EQ(statement["balanced"], true) << statement.dump(2);
  EXPECT_DOUBLE_EQ(statement["total"].get<double>(), usage["total_cost"].get<double>());
  EXPECT_DOUBLE_EQ(call("GET", "/v1/sandboxes/" + id)["total_cost"].get<double>(), usage["total_cost"].get<double>());
  // The journal says when it ran: what is billed is that, but for the moments between a fact and its event's time.
  double ran = 0, since = 0;
  const json events = call("GET", "/v1/sessions/" + call("GET", "/v1/sandboxes/" + id)["session_id"].get<std::string>() +
                                      "/replay?limit=1000&type=lifecycle")["events"];
  for (const auto& e : events) {
    const std::string time = e["timestamp"].get<std::string>(), to = e["data"].value("to", "");
    const double seconds = std::stod(time.substr(11, 2)) * 3600 + std::stod(time.substr(14, 2)) * 60 + std::stod(time.substr(17));
    if (since != 0 && !to.empty()) ran += std::fmod(seconds - since + 86400, 86400);
    if (!to.empty()) since = to == "running" ? seconds : 0;
  }
  EXPECT_NEAR(usage["compute_minutes"].get<double>() * 60, ran, 0.2);
  const std::string csv = text("/v1/billing/statement?format=csv");
  EXPECT_NE(csv.find(id), std::string::npos);
  EXPECT_NE(text("/v1/billing/statement?format=html").find("<h1>Statement</h1>"), std::string::npos);
  EXPECT_EQ(refused("GET", "/v1/billing/statement?from=yesterday").code, errc::invalid_argument);
}

// What is old goes; what is left can be checked, and the books keep what it cost.
TEST_F(Billing, RetentionForgetsAndTheChainHolds) {
  begin("retention: {recent: 1s, interval: 1s, events_age: 2s}\n");
  const std::string id = make(), other = make();
  const std::string session = call("GET", "/v1/sandboxes/" + id)["session_id"].get<std::string>();
  for (int i = 0; i < 5; ++i) call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "echo " + std::to_string(i)}});
  call("DELETE", "/v1/sandboxes/" + id);
  const auto verified = [&] { return call("GET", "/v1/sessions/" + session + "/verify"); };
  ASSERT_TRUE(eventually([&] { return verified()["dropped"].get<int>() > 0; }, std::chrono::seconds(30)));
  EXPECT_EQ(verified()["intact"], true) << verified();
  // Out of memory, not out of the world.
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["status"], "destroyed");
  const json destroyed = call("GET", "/v1/sandboxes?status=destroyed");
  EXPECT_TRUE(std::any_of(destroyed.begin(), destroyed.end(), [&](const json& b) { return b["id"] == id; }));
  EXPECT_GE(call("GET", "/v1/sandboxes/" + id + "/sessions").size(), 1u);
  EXPECT_EQ(status(other), "running");
  const double cost = call("GET", "/v1/billing/usage")["total_cost"].get<double>();
  EXPECT_GT(cost, 0);
  host.reset();
  begin("retention: {recent: 1s, interval: 1s, destroyed_age: 1s}\n");
  ASSERT_TRUE(eventually([&] { return !client->call("GET", "/v1/sandboxes/" + id); }, std::chrono::seconds(30)));
  EXPECT_EQ(refused("GET", "/v1/sessions/" + session).code, errc::not_found);
  EXPECT_GE(call("GET", "/v1/billing/usage")["total_cost"].get<double>(), cost);
  EXPECT_EQ(status(other), "running");
}

}  // namespace
}  // namespace caged::testing
