// Loading, gates and facts, combination, state, reload, threads.
#include <thread>

#include "policy_fixture.hpp"

namespace caged::policy {
namespace {

TEST(engine, refuses_what_it_cannot_load_and_says_why) {
  policy_folder folder;
  auto missing = policy_engine::load(folder.options({"none.lua"}));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "policy_not_found");
  folder.write("p.lua", "return { name = 'p', version = '1', requires_schema = 1, on = { comand = function() end } }");
  auto misspelt = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_FALSE(misspelt);
  EXPECT_NE(misspelt.error().action.find("command"), std::string::npos) << describe(misspelt.error());
  folder.write("q.lua", "local x = \nreturn {}");
  auto syntax = policy_engine::load(folder.options({"q.lua"}));
  ASSERT_FALSE(syntax);
  EXPECT_NE(syntax.error().message.find("q.lua:2"), std::string::npos) << syntax.error().message;
  engine_options by_name;
  by_name.roots = {folder.path()};
  by_name.policies = {{"../etc/passwd", json::object(), ""}};
  EXPECT_EQ(policy_engine::load(by_name).error().reason, "invalid_policy_name");
  folder.write("ok.lua", with_gate(""));
  EXPECT_EQ(policy_engine::load(folder.options({"ok.lua", "ok.lua"})).error().reason, "policy_label");
  auto none = folder.options({"ok.lua"});
  none.workers = 0;
  EXPECT_FALSE(policy_engine::load(none));
}

TEST(engine, arguments_are_held_to_the_schema_and_get_defaults) {
  policy_folder folder;
  folder.write("p.lua", with_gate("return deny(ctx.args.word .. #ctx.args.list)", "",
                                  "args = { type = 'object', additionalProperties = false, properties = { word = { "
                                  "type = 'string', default = 'dft' }, "
                                  "list = { type = 'array', items = { type = 'integer' }, default = {} } } },"));
  auto options = folder.options({"p.lua"});
  options.policies[0].args = {{"wrod", "x"}};
  auto unknown = policy_engine::load(options);
  ASSERT_FALSE(unknown);
  EXPECT_NE(describe(unknown.error()).find("word"), std::string::npos) << describe(unknown.error());
  options.policies[0].args = {{"list", {1, "2"}}};
  auto wrong = policy_engine::load(options);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().path, "/list/1");
  options.policies[0].args = {{"list", {1, 2}}};
  auto engine = policy_engine::load(options);
  ASSERT_TRUE(engine) << describe(engine.error());
  EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).reason, "dft2");
}

TEST(engine, handlers_see_the_event_and_the_session) {
  policy_folder folder;
  folder.write(
      "p.lua",
      with_gate("local parts = { event.type, event.command, event.data.command, event.argv[2], #event.argv, "
                "event.nothing == nil, event.time, event.session_id, "
                "ctx.session.agent, ctx.policy, event.deep.er.est } "
                "for i, v in ipairs(event.argv) do parts[#parts + 1] = i .. v end "
                "for k, v in pairs(event.deep) do parts[#parts + 1] = k end "
                "for i = 1, #parts do parts[i] = tostring(parts[i]) end return deny(table.concat(parts, ' '))"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  const json data = {{"command", "ls"}, {"argv", {"a", "b"}}, {"deep", {{"er", {{"est", -3}}}}}};
  const verdict v = (*engine)->gate(make_event("command", data), {{"agent", "codex"}});
  EXPECT_EQ(v.reason, "command ls ls b 2 true 1700000000.0 s1 codex p -3 1a 2b er");
}

TEST(engine, the_most_severe_verdict_wins_and_deductions_add_up) {
  policy_folder folder;
  const char* bodies[] = {
      "return allow('fine')", "return annotate({ a = 1 }), deduct(5, 'five')", "return ask('human?')",
      "return { deduct(2.5, 'x', { rule = 'r', advice = 'v' }), deny('no', { rule = 'first', advice = 'do that' }) }",
      "return deny('also no')"};
  std::vector<std::string> files;
  for (int i = 0; i < 5; ++i) {
    files.push_back("p" + std::to_string(i) + ".lua");
    std::string text = with_gate(bodies[i]);
    text.replace(text.find("'p'"), 3, "'p" + std::to_string(i) + "'");
    folder.write(files.back(), text);
  }
  auto engine = policy_engine::load(folder.options(files));
  ASSERT_TRUE(engine) << describe(engine.error());
  const verdict v = (*engine)->gate(make_event("command"), json::object());
  EXPECT_TRUE(v.failures.empty()) << v.to_json().dump();
  EXPECT_EQ(v.kind, verdict_kind::deny);
  EXPECT_EQ(v.reason, "no");  // the first of two equals
  EXPECT_EQ(v.rule, "first");
  EXPECT_EQ(v.policy, "p3");
  EXPECT_EQ(v.advice, "do that");
  EXPECT_DOUBLE_EQ(v.points(), 7.5);
  ASSERT_EQ(v.annotations.size(), 1u);
  EXPECT_EQ(v.annotations[0].value, json({{"a", 1}}));
  EXPECT_FALSE(v.allowed());
}

TEST(engine, a_failing_gate_denies_unless_the_policy_fails_open) {
  policy_folder folder;
  folder.write("closed.lua", with_gate("error('broken')"));
  folder.write("open.lua", with_gate("error('broken')", "", "on_error = 'allow',"));
  auto closed = policy_engine::load(folder.options({"closed.lua"}));
  auto open = policy_engine::load(folder.options({"open.lua"}));
  ASSERT_TRUE(closed && open);
  const verdict no = (*closed)->gate(make_event("command"), json::object());
  EXPECT_EQ(no.kind, verdict_kind::deny);
  EXPECT_EQ(no.rule, "policy_error");
  EXPECT_NE(no.reason.find("broken"), std::string::npos);
  const verdict yes = (*open)->gate(make_event("command"), json::object());
  EXPECT_EQ(yes.kind, verdict_kind::allow);
  ASSERT_EQ(yes.failures.size(), 1u);
  EXPECT_EQ(failure_data(yes.failures[0], "command", 7)["event_id"], 7);
}

TEST(engine, a_failing_observer_changes_nothing_and_facts_cannot_be_denied) {
  policy_folder folder;
  folder.write("a.lua", with_fact("error('broken')", "a"));
  folder.write("b.lua", with_fact("return deny('too late')", "b"));
  folder.write("c.lua", with_fact("return pause('stop here')", "c"));
  auto engine = policy_engine::load(folder.options({"a.lua", "b.lua", "c.lua"}));
  ASSERT_TRUE(engine);
  const verdict v = (*engine)->observe(make_event("error"), json::object());
  EXPECT_EQ(v.kind, verdict_kind::pause);
  ASSERT_EQ(v.failures.size(), 2u);
  EXPECT_EQ(v.failures[1].reason, "policy_verdict");
}

TEST(engine, what_nobody_asks_for_is_allowed) {
  policy_folder folder;
  folder.write("p.lua", with_gate("return deny('x')"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  EXPECT_TRUE((*engine)->gate(make_event("file_op"), json::object()).allowed());
  EXPECT_TRUE((*engine)->observe(make_event("command"), json::object()).allowed());
  EXPECT_TRUE((*engine)->observe(make_event("no such type"), json::object()).allowed());
}

constexpr std::string_view counting =
    "ctx.state.n = (ctx.state.n or 0) + 1 ctx.state.seen = ctx.state.seen or {} ctx.state.seen[#ctx.state.seen + 1] = "
    "'x' "
    "return annotate(string.format('%d', ctx.state.n))";

TEST(engine, state_is_per_session_survives_parking_restart_and_reload) {
  policy_folder folder;
  folder.write("p.lua", with_fact(counting));
  auto options = folder.options({"p.lua"});
  options.limits.live_sessions = 3;
  auto engine = policy_engine::load(options);
  ASSERT_TRUE(engine);
  for (int round = 1; round <= 5; ++round) {
    for (int s = 0; s < 10; ++s) {
      const verdict v =
          (*engine)->observe(make_event("error", json::object(), "s" + std::to_string(s)), json::object());
      ASSERT_TRUE(v.failures.empty()) << v.to_json().dump();
      ASSERT_EQ(v.annotations.at(0).value, std::to_string(round));
    }
  }
  const json state = (*engine)->session_state("s3");
  EXPECT_EQ(state["p"]["n"], 5);
  EXPECT_EQ(state["p"]["seen"].size(), 5u);
  ASSERT_TRUE((*engine)->reload());
  EXPECT_EQ((*engine)->observe(make_event("error", json::object(), "s3"), json::object()).annotations.at(0).value, "6");
  (*engine)->forget("s3");
  EXPECT_EQ((*engine)->session_state("s3"), json::object());
  (*engine)->restore_state("s3", state);
  EXPECT_EQ((*engine)->observe(make_event("error", json::object(), "s3"), json::object()).annotations.at(0).value, "6");
  (*engine)->restore_state("s4", {{"p", 7}, {"gone", {{"x", 1}}}});
  EXPECT_EQ((*engine)->observe(make_event("error", json::object(), "s4"), json::object()).annotations.at(0).value, "1");
}

TEST(engine, reload_keeps_the_old_policies_when_the_new_do_not_parse) {
  policy_folder folder;
  const auto file = folder.write("p.lua", with_gate("return deny('old')"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  EXPECT_FALSE((*engine)->changed());
  folder.write("p.lua", "return { broken");
  EXPECT_TRUE((*engine)->changed());
  const auto failed = (*engine)->reload();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("p.lua"), std::string::npos);
  EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).reason, "old");
  folder.write("p.lua", with_gate("return deny('brand new')"));
  ASSERT_TRUE((*engine)->reload());
  EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).reason, "brand new");
  EXPECT_FALSE((*engine)->changed());
  std::filesystem::remove(file);
  EXPECT_TRUE((*engine)->changed());
  EXPECT_FALSE((*engine)->reload());
  EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).reason, "brand new");
}

TEST(engine, libraries_come_from_lib_only_and_may_not_go_in_circles) {
  policy_folder folder;
  folder.write("lib/good.lua", "return { word = require('lib.other').word }");
  folder.write("lib/other.lua", "return { word = 'deep' }");
  folder.write("lib/circle.lua", "return { x = require('lib.circle') }");
  folder.write("lib/nothing.lua", "local x = 1");
  folder.write("ok.lua", with_gate("return deny(good.word)", "local good = require 'lib.good'"));
  auto engine = policy_engine::load(folder.options({"ok.lua"}));
  ASSERT_TRUE(engine) << describe(engine.error());
  EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).reason, "deep");
  for (const char* name : {"lib.circle", "lib.nothing", "lib.absent", "other", "lib.sub.x", "lib/good"}) {
    folder.write("bad.lua", with_gate("", "local x = require '" + std::string(name) + "'"));
    EXPECT_FALSE(policy_engine::load(folder.options({"bad.lua"}))) << name;
  }
}

TEST(engine, long_strings_are_cut_and_say_so) {
  policy_folder folder;
  folder.write("p.lua", with_gate("return deny(tostring(event.truncated) .. #event.command .. event.command:sub(1, 1) "
                                  ".. event.command:sub(-1))"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  EXPECT_EQ((*engine)->gate(make_event("command", {{"command", "ab"}}), json::object()).reason, "false2ab");
  const std::string big = "a" + std::string(1 << 20, 'm') + "z";
  EXPECT_EQ((*engine)->gate(make_event("command", {{"command", big}}), json::object()).reason, "true131073az");
}

TEST(engine, workers_share_nothing_and_threads_may_ask_at_once) {
  policy_folder folder;
  folder.write("p.lua", with_fact(counting));
  auto options = folder.options({"p.lua"});
  options.workers = 3;
  auto engine = policy_engine::load(options);
  ASSERT_TRUE(engine);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i)
        (*engine)->observe(make_event("error", json::object(), "s" + std::to_string((i + t) % 8)), json::object());
    });
  }
  for (int i = 0; i < 5; ++i) EXPECT_TRUE((*engine)->reload());
  for (auto& t : threads) t.join();
  std::int64_t total = 0;
  for (int s = 0; s < 8; ++s) total += (*engine)->session_state("s" + std::to_string(s))["p"]["n"].get<std::int64_t>();
  EXPECT_EQ(total, 800);
}

}  // namespace
}  // namespace caged::policy
