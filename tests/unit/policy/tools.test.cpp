// list, check, test, explain, replay, new.
#include <core/policy/policy_tools.hpp>

#include "policy_fixture.hpp"

namespace caged::policy {
namespace {

TEST(tools, a_new_policy_is_valid_and_its_tests_pass) {
  policy_folder folder;
  for (const char* bad : {"", "lib", "A", "a/b", "../x", "a b"}) EXPECT_FALSE(new_policy(folder.path(), bad)) << bad;
  auto made = new_policy(folder.path(), "house-rules");
  ASSERT_TRUE(made) << describe(made.error());
  EXPECT_EQ(new_policy(folder.path(), "house-rules").error().reason, "policy_exists");
  const json report = run_policy_tests({folder.path()});
  EXPECT_EQ(report["failed"], 0) << report.dump(2);
  EXPECT_EQ(report["passed"], 2);
  EXPECT_EQ(run_policy_tests({folder.path()}, {}, "refused")["passed"], 1);
}

TEST(tools, failing_broken_and_empty_tests_are_reported) {
  policy_folder folder;
  folder.write("p/p.lua", with_gate("return deny('no')"));
  folder.write("p/p_test.lua",
               "test('fails', function(t) t.kind(t.session().gate('command', {}), 'allow') end)\n"
               "test('works', function(t) t.kind(t.session().gate('command', {}), 'deny') end)\n"
               "test('loops', function(t) error({}) end)\n"
               "test('bad data', function(t) t.session().gate('command', { argv = 'x' }) end)\n"
               "test('bad type', function(t) t.session().fact('nonsense', {}) end)\n");
  folder.write("q/q_test.lua", "this is no Lua");
  folder.write("r/r_test.lua", "-- nothing");
  const json report = run_policy_tests({folder.path()});
  EXPECT_EQ(report["passed"], 1) << report.dump(2);
  EXPECT_EQ(report["failed"], 6) << report.dump(2);
  EXPECT_NE(report["files"][0]["tests"][0]["message"].get<std::string>().find("expected allow, found deny"),
            std::string::npos);
  EXPECT_TRUE(report["files"][1].contains("error"));
  EXPECT_TRUE(report["files"][2].contains("error"));
  EXPECT_EQ(run_policy_tests({folder.path()}, {folder.path() / "none_test.lua"})["failed"], 1);
}

TEST(tools, list_and_check_name_what_is_wrong) {
  policy_folder folder;
  folder.write("a/a.lua", with_gate(""));
  folder.write("b/b.lua", "return {");
  const json list = list_policies({folder.path()});
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]["gates"], json::array({"command"}));
  EXPECT_TRUE(list[1].contains("problem"));
  EXPECT_TRUE(check_policies(folder.options({"a/a.lua"}))["ok"].get<bool>());
  const json bad = check_policies(folder.options({"b/b.lua"}));
  EXPECT_FALSE(bad["ok"].get<bool>());
  EXPECT_NE(bad["error"]["message"].get<std::string>().find("b.lua"), std::string::npos);
}

TEST(tools, explain_shows_each_handler_and_its_cost) {
  policy_folder folder;
  folder.write("p.lua", with_gate("return deny('no')"));
  const auto options = folder.options({"p.lua"});
  EXPECT_FALSE(explain_event(options, make_event("nonsense"), json::object(), explain_as::unset));
  EXPECT_FALSE(explain_event(options, make_event("command", {{"argv", 1}}), json::object(), explain_as::gate));
  auto fact = explain_event(options, make_event("command"), json::object(), explain_as::unset);
  ASSERT_TRUE(fact);
  EXPECT_EQ((*fact)["handlers"].size(), 0u);
  auto gate = explain_event(options, make_event("command"), json::object(), explain_as::gate);
  ASSERT_TRUE(gate);
  EXPECT_EQ((*gate)["verdict"]["kind"], "deny");
  EXPECT_GT((*gate)["handlers"][0]["microseconds"].get<double>(), 0);
}

TEST(tools, replay_shows_what_a_change_would_have_changed) {
  policy_folder folder;
  folder.write("old.lua", with_fact("return deduct(5, 'five', { rule = 'r' })"));
  folder.write("new.lua", with_fact("return deduct(7, 'seven', { rule = 'r' })"));
  std::vector<event> events;
  for (int i = 0; i < 3; ++i) {
    events.push_back(make_event("error", json::object(), i == 2 ? "b" : "a"));
    events.back().id = static_cast<std::uint64_t>(i + 1);
  }
  const auto before = folder.options({"old.lua"});
  auto report = replay_events(folder.options({"new.lua"}), &before, events, json::object());
  ASSERT_TRUE(report) << describe(report.error());
  EXPECT_EQ((*report)["changed"], 3);
  EXPECT_EQ((*report)["sessions"][0]["score"], 86);
  EXPECT_EQ((*report)["sessions"][0]["score_before"], 90);
  EXPECT_EQ((*report)["sessions"][1]["differences"].size(), 1u);
  auto alone = replay_events(before, nullptr, events, json::object());
  ASSERT_TRUE(alone);
  EXPECT_EQ((*alone)["changed"], 0);
  folder.write("bad.lua", "x");
  EXPECT_FALSE(replay_events(folder.options({"bad.lua"}), nullptr, events, json::object()));
}

TEST(tools, replay_asks_the_gate_that_would_have_been_asked) {
  policy_folder folder;
  folder.write("p.lua", with_gate("return deny('no')"));
  std::vector<event> events{make_event("command", {{"command", "x"}, {"source", "rest"}}),
                            make_event("command", {{"argv", {"x"}}, {"source", "exec"}})};
  auto report = replay_events(folder.options({"p.lua"}), nullptr, events, json::object());
  ASSERT_TRUE(report);
  EXPECT_EQ((*report)["verdicts"]["deny"], 1);
  EXPECT_EQ((*report)["verdicts"]["allow"], 1);
}

TEST(tools, events_from_json_are_checked) {
  for (const char* bad : {"null", "[]", "{}", R"({"type":1})", R"({"type":""})", R"({"type":"x","data":1})",
                          R"({"type":"x","id":"1"})", R"({"type":"x","session_id":3})"}) {
    EXPECT_FALSE(event_from_json(json::parse(bad))) << bad;
  }
  auto e = event_from_json(json::parse(R"({"type":"error","data":{"message":"m"},"id":3,"session_id":"s"})"));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->id, 3u);
  EXPECT_EQ(e->data["message"], "m");
}

}  // namespace
}  // namespace caged::policy
