#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Events : public ServerTest {
 protected:
  void SetUp() override { id = make(); }
  std::string id;
};

std::vector<http::sse_event> take(http::client& c, const std::string& target, const std::string& last,
                                  std::size_t count) {
  http::client_request r;
  r.target = target;
  if (!last.empty()) r.fields = {{"last-event-id", last}};
  auto stream = c.events(r);
  std::vector<http::sse_event> got;
  if (!stream) {
    ADD_FAILURE() << describe(stream.error());
    return got;
  }
  while (got.size() < count) {
    auto e = stream->next();
    if (!e || !*e) break;
    got.push_back(**e);
  }
  return got;
}

TEST_F(Events, AStreamResumesWithoutGapOrDuplicate) {
  for (int i = 0; i < 5; ++i) exec(id, "echo " + std::to_string(i));
  const auto all = take(http, "/v1/sandboxes/" + id + "/events?after=0", "", 12);
  ASSERT_EQ(all.size(), 12u);
  const auto rest = take(http, "/v1/sandboxes/" + id + "/events", all[3].id, 8);
  ASSERT_EQ(rest.size(), 8u);
  for (std::size_t i = 0; i < rest.size(); ++i) EXPECT_EQ(rest[i].id, all[i + 4].id);
  EXPECT_EQ(refused("GET", "/v1/sandboxes/" + id + "/events?after=x").code, errc::invalid_argument);
}

TEST_F(Events, ACommandIsOnTheStreamWithItsExit) {
  http::client_request r;
  r.target = "/v1/sandboxes/" + id + "/events?type=command";
  auto stream = http.events(r);
  ASSERT_TRUE(stream);
  auto other = host->client();
  ASSERT_TRUE(other.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "exit 42"}}));
  std::string phases;
  for (int i = 0; i < 2;) {
    auto e = stream->next();
    ASSERT_TRUE(e);
    ASSERT_TRUE(*e);
    const json data = json::parse((*e)->data);
    if (data["data"].value("source", "") == "exec") continue;  // what the host saw of it
    phases += data["data"]["phase"].get<std::string>() + " ";
    if (i == 1) {
      EXPECT_EQ(data["data"]["exit"]["exit_code"], 42);
    }
    ++i;
  }
  EXPECT_EQ(phases, "started finished ");
}

TEST_F(Events, SessionsReplayAndTheChainHolds) {
  for (int i = 0; i < 3; ++i) exec(id, "true");
  const json sessions = call("GET", "/v1/sandboxes/" + id + "/sessions");
  ASSERT_EQ(sessions.size(), 1u);
  const std::string session = sessions[0]["id"].get<std::string>();
  const json first = call("GET", "/v1/sessions/" + session + "/replay?limit=2");
  ASSERT_EQ(first["events"].size(), 2u);
  EXPECT_EQ(first["has_more"], true);
  EXPECT_EQ(first["events"][0]["sequence"], 1);
  const json rest = call("GET", "/v1/sessions/" + session + "/replay?limit=1000&after_seq=" + first["next_seq"].dump());
  EXPECT_EQ(rest["has_more"], false);
  EXPECT_EQ(rest["events"][0]["sequence"], 3);
  EXPECT_EQ(rest["events"].size() + 2, rest["total"].get<std::size_t>());
  const json summary = call("GET", "/v1/sessions/" + session + "/replay/summary");
  EXPECT_GE(summary["types"]["command"], 6) << "asked for, and seen by the host while it happened";
  const json verified = call("GET", "/v1/sessions/" + session + "/verify");
  EXPECT_EQ(verified["intact"], true);
  EXPECT_GE(verified["events"], rest["total"]);
  EXPECT_EQ(call("GET", "/v1/sessions?per_page=1")["data"].size(), 1u);
  EXPECT_EQ(refused("GET", "/v1/sessions/sess-nosuch").code, errc::not_found);
}

TEST_F(Events, FileChangesThroughTheApiAreFacts) {
  ASSERT_TRUE(http.call("POST", "/v1/sandboxes/" + id + "/files/mkdir", {{"path", "/workspace/noted"}}));
  const auto got = take(http, "/v1/sandboxes/" + id + "/events?after=0&type=file_op", "", 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_NE(got[0].data.find("/workspace/noted"), std::string::npos);
}

}  // namespace
}  // namespace caged::testing
