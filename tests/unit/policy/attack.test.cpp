// Hostile policies: each must be refused or stopped within its budgets, and leave the interpreter fit for the next one.
#include <chrono>

#include "policy_fixture.hpp"

namespace caged::policy {
namespace {

using clock = std::chrono::steady_clock;

// Runs the body as a gate beside a good policy. The bad one must fail closed in time; the good one must go on working.
struct attempt {
  verdict answer;
  std::chrono::milliseconds took{0};
  std::string message;
};

attempt run(std::string_view body, std::string_view before = "") {
  policy_folder folder;
  folder.write("bad.lua", with_gate(body, before));
  folder.write("good.lua",
               "return { name = 'good', version = '1', requires_schema = 1, on = { error = function(e, ctx) "
               "ctx.state.n = (ctx.state.n or 0) + 1 return annotate(string.format('%d', ctx.state.n)) end } }");
  auto engine = policy_engine::load(folder.options({"bad.lua", "good.lua"}));
  attempt out;
  if (!engine) {
    ADD_FAILURE() << describe(engine.error());
    return out;
  }
  const auto begin = clock::now();
  out.answer = (*engine)->gate(make_event("command", {{"command", "x"}, {"argv", {"a", "b"}}}), json::object());
  out.took = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begin);
  if (!out.answer.failures.empty()) out.message = out.answer.failures.front().message;
  for (int i = 1; i <= 3; ++i) {
    const verdict after = (*engine)->observe(make_event("error"), json::object());
    EXPECT_TRUE(after.failures.empty()) << body << ": the next policy failed: " << after.to_json().dump();
    EXPECT_EQ(after.kind, verdict_kind::annotate);
  }
  return out;
}

// Far above the 50 ms of the budget, for sanitizers and busy machines; far below what these would take unbounded.
constexpr std::chrono::milliseconds patience{2500};

class stopped : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(stopped, fails_closed_and_in_time) {
  const auto [body, needle] = GetParam();
  const attempt a = run(body);
  EXPECT_EQ(a.answer.kind, verdict_kind::deny) << body;
  ASSERT_EQ(a.answer.failures.size(), 1u) << body;
  EXPECT_NE(a.message.find(needle), std::string::npos) << body << "\nfound: " << a.message << "\nexpected: " << needle;
  EXPECT_LT(a.took, patience) << body;
  for (const char c : a.message)
    EXPECT_TRUE(c >= 32 || static_cast<unsigned char>(c) >= 128) << "unprintable: " << a.message;
}

INSTANTIATE_TEST_SUITE_P(
    budgets, stopped,
    ::testing::Values(
        std::pair{"while true do end", "budget"}, std::pair{"for i = 1, math.maxinteger do end", "budget"},
        std::pair{"repeat until false", "budget"}, std::pair{"goto top ::top:: goto top", "budget"},
        std::pair{"local function f() return f() end return f()", "budget"},
        std::pair{"local function f() f() end f()", "memory"},
        std::pair{"local function f(n) return f(n + 1) + f(n + 1) end f(0)", "memory"},
        std::pair{"local s = 'x' while true do s = s .. s end", "memory"},
        std::pair{"return deny(string.rep('x', 1 << 40))", "string.rep"},
        std::pair{"return deny(string.rep('', 1 << 60, 'ab'))", "string.rep"},
        std::pair{"local s = string.rep('x', 1000000) local t = {} for i = 1, 1e9 do t[i] = s .. i end", "budget"},
        std::pair{"local t = {} for i = 1, 1e9 do t[i] = i end", "budget"},
        std::pair{"local t = {} while true do t = { t } end", "budget"},
        std::pair{"local t = {} for i = 1, 1e9 do t[i .. 'x'] = i end", "budget"},
        std::pair{"local t = {} for i = 1, 1e9 do t[i * 4194304] = i end", "budget"},
        std::pair{"local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end", "budget"},
        std::pair{
            "local t = {} for i = 1, 30000 do t[i] = i end while true do table.remove(t, 1) table.insert(t, 1) end",
            "budget"},
        std::pair{"local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 100000 do t[i] = nil end while true do "
                  "next(t) end",
                  "budget"},
        std::pair{"local t = {} for i = 1, 50000 do t[i] = i % 7 end while true do table.sort(t) end", "budget"},
        std::pair{"local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end)",
                  "budget"},
        std::pair{"local t = {} for i = 1, 3000 do t[i] = string.rep('x', 1000) end while true do table.concat(t) end",
                  "budget"},
        std::pair{"return table.unpack({}, 1, 1e8)", "1000 results"},
        std::pair{"local s = string.rep('a', 100000) while true do s:lower() end", "budget"},
        std::pair{"local s = string.rep('a', 100000) while true do s:reverse() end", "budget"},
        std::pair{"local s = string.rep('a', 100000) while true do local _ = s == s .. '' end", "budget"},
        std::pair{"while true do string.format('%99.99f', 1.1) end", "budget"},
        std::pair{"while true do tostring(1) end", "budget"},
        std::pair{"while true do ctx.state.x = event.data end", "budget"},
        std::pair{"while true do for k in pairs(event.data) do end end", "budget"},
        std::pair{"while true do shell.parse(string.rep('(', 1000)) end", "budget"},
        std::pair{"shell.parse(string.rep('$(', 60000)) while true do end", "budget"},
        std::pair{"local t = {} for i = 1, 40 do t[i] = 'f' .. i .. '(){ f' .. i - 1 .. '; f' .. i - 1 .. '; }' end "
                  "shell.parse(table.concat(t, ';') .. '; f40') while true do end",
                  "budget"},
        std::pair{"while true do shell.base64_decode(string.rep('a', 100000)) end", "budget"}));

// Backtracking that would run for hours: the instruction hook never sees it, the matcher's own steps do.
INSTANTIATE_TEST_SUITE_P(
    patterns, stopped,
    ::testing::Values(
        std::pair{"string.find(string.rep('a', 50000), string.rep('a-', 50) .. 'b')", "budget"},
        std::pair{"string.find(string.rep('a', 300), string.rep('a?', 100) .. string.rep('a', 100) .. 'b')", "budget"},
        std::pair{"string.match(string.rep('x', 100000), '.*.*.*.*y')", "budget"},
        std::pair{"string.gsub(string.rep('x', 100000), '.-.-.-y', '')", "budget"},
        std::pair{"for w in string.gmatch(string.rep('x', 100000), '.-.-.-y') do end", "budget"},
        std::pair{"string.find(string.rep('(', 200000), '%b()' .. string.rep('.-', 5) .. 'x')", "budget"},
        std::pair{"string.find(string.rep('a', 100000), '[' .. string.rep('b', 50000) .. ']')", "budget"},
        std::pair{"string.find(string.rep('ab', 50000), '(.-)(.-)%1%2x')", "budget"},
        std::pair{"while true do string.find(string.rep('a', 100000), string.rep('a', 50000) .. 'b', 1, true) end",
                  "budget"},
        std::pair{"string.gsub(string.rep('x', 1000), '', string.rep('y', 100000))", "budget"},
        std::pair{"string.gsub('x', '.', function() while true do end end)", "budget"},
        std::pair{"string.find('x', string.rep('(', 40))", "captures"}, std::pair{"string.find('x', '%')", "malformed"},
        std::pair{"string.find('x', '[a')", "malformed"}, std::pair{"string.find('x', '%b')", "%b"},
        std::pair{"string.find('x', '%f')", "%f"}, std::pair{"string.find('x', '%1')", "capture"},
        std::pair{"string.find('x', '(')", "capture"}, std::pair{"string.gsub('x', 'x', '%2')", "capture"},
        std::pair{"string.gsub('x', 'x', '%')", "%"}));

INSTANTIATE_TEST_SUITE_P(
    errors, stopped,
    ::testing::Values(std::pair{"error()", "nil"}, std::pair{"error({ x = 1 })", "table"},
                      std::pair{"error(event)", "userdata"}, std::pair{"error(error)", "function"},
                      std::pair{"error('\\27[2J\\0\\1evil\\n')", "?[2J??evil"},
                      std::pair{"error(string.rep('x', 1000000))", "xxxx"},
                      std::pair{"local t = nil; return t.x", "nil"}, std::pair{"return event.command.x.y", "nil"},
                      std::pair{"return 42", "verdict"}, std::pair{"return 'deny'", "verdict"},
                      std::pair{"return true", "verdict"}, std::pair{"return event", "userdata"},
                      std::pair{"return { kind = 'obliterate', reason = 'x' }", "unknown verdict"},
                      std::pair{"return { { { kind = 'allow' } } }", "no verdict"},
                      std::pair{"local t = {} t[1] = t return t", "no verdict"},
                      std::pair{"local t = {} for i = 1, 1000 do t[i] = annotate(i) end return t", "64"},
                      std::pair{"return deny()", "string expected"}, std::pair{"return { kind = 'deny' }", "reason"},
                      std::pair{"return deduct(-5, 'x')", "points"}, std::pair{"return deduct(1/0, 'x')", "points"},
                      std::pair{"return deduct(0/0, 'x')", "points"}, std::pair{"return deduct(1000, 'x')", "points"},
                      std::pair{"return annotate(event)", "userdata"},
                      std::pair{"return annotate(function() end)", "function"},
                      std::pair{"local t = {} t.t = t return annotate(t)", "nested deeper"},
                      std::pair{"return annotate(string.rep('x', 100000))", "longer"}));

// What would lead out of the environment is not there, or refuses.
INSTANTIATE_TEST_SUITE_P(
    escapes, stopped,
    ::testing::Values(
        std::pair{"return load('return 1')()", "'load'"}, std::pair{"return loadstring('return 1')()", "'loadstring'"},
        std::pair{"dofile('/etc/passwd')", "'dofile'"}, std::pair{"loadfile('/etc/passwd')", "'loadfile'"},
        std::pair{"os.execute('id')", "'os'"}, std::pair{"io.open('/etc/passwd')", "'io'"},
        std::pair{"debug.getregistry()", "'debug'"}, std::pair{"package.loadlib('x', 'y')", "'package'"},
        std::pair{"coroutine.create(function() end)", "'coroutine'"}, std::pair{"utf8.len('x')", "'utf8'"},
        std::pair{"setmetatable({}, { __gc = function() end })", "'setmetatable'"},
        std::pair{"getmetatable('').__index.find = nil", "'getmetatable'"},
        std::pair{"rawset(string, 'find', nil)", "'rawset'"}, std::pair{"rawget(string, 'find')", "'rawget'"},
        std::pair{"collectgarbage('stop')", "'collectgarbage'"}, std::pair{"pcall(error)", "'pcall'"},
        std::pair{"xpcall(error, error)", "'xpcall'"}, std::pair{"print('x')", "'print'"},
        std::pair{"_G.x = 1", "'_G'"}, std::pair{"string.dump(function() end)", "'dump'"},
        std::pair{"('').dump(function() end)", "'dump'"}, std::pair{"string.pack('i', 1)", "'pack'"},
        std::pair{"string.format('%p', {})", "%p"}, std::pair{"string.format('%s', {})", "table"},
        std::pair{"string.format('%s', event)", "userdata"}, std::pair{"math.random()", "'random'"},
        std::pair{"x = 1", "global"}, std::pair{"string = nil", "global"},
        std::pair{"string.find = nil", "string cannot be changed"},
        std::pair{"table.insert(string, 1)", "cannot be changed"},
        std::pair{"table.sort = 1", "table cannot be changed"}, std::pair{"math.pi = 3", "math cannot be changed"},
        std::pair{"shell.parse = nil", "shell cannot be changed"}, std::pair{"require = nil; require('lib.x')", "nil"},
        std::pair{"event.command = 'x'", "event cannot be changed"},
        std::pair{"event.data.command = 'x'", "event cannot be changed"},
        std::pair{"event.argv[1] = 'x'", "event cannot be changed"},
        std::pair{"ctx.args.x = 1", "ctx.args cannot be changed"}, std::pair{"ctx.session.x = 1", "cannot be changed"},
        std::pair{"require('os')", "while a policy is loaded"},
        std::pair{"require('lib.../../../etc/passwd')", "while a policy is loaded"},
        std::pair{"require('lib.x')", "while a policy is loaded"},
        std::pair{"require('lib.\\0x')", "while a policy is loaded"}));

TEST(attack, tostring_shows_no_address) {
  const attempt a = run("return deny(tostring({}) .. tostring(print) .. tostring(event) .. tostring(tostring))");
  EXPECT_EQ(a.answer.reason, "tableniluserdatafunction");
}

TEST(attack, bytecode_and_binary_files_are_not_loaded) {
  policy_folder folder;
  folder.write("b.lua", std::string_view("\x1bLua\x54\x00\x19\x93\r\n\x1a\n", 12));
  const auto engine = policy_engine::load(folder.options({"b.lua"}));
  ASSERT_FALSE(engine);
  EXPECT_NE(engine.error().message.find("binary"), std::string::npos) << engine.error().message;
}

class never_loads : public ::testing::TestWithParam<const char*> {};
TEST_P(never_loads, is_refused_in_time) {
  policy_folder folder;
  folder.write("p.lua", GetParam());
  const auto begin = clock::now();
  EXPECT_FALSE(policy_engine::load(folder.options({"p.lua"}))) << GetParam();
  EXPECT_LT(clock::now() - begin, std::chrono::seconds(10));
}
INSTANTIATE_TEST_SUITE_P(
    files, never_loads,
    ::testing::Values(
        "", "return", "return 1", "return {}", "while true do end", "local s = 'x' while true do s = s .. s end",
        "syntax error here", "return setmetatable({}, {})",
        "x = 1 return { name = 'p', version = '1', requires_schema = 1, on = { error = function() end } }",
        "return { name = '../x', version = '1', requires_schema = 1, on = { error = function() end } }",
        "return { name = 'P Q', version = '1', requires_schema = 1, on = { error = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 2, on = { error = function() end } }",
        "return { name = 'p', version = '1', on = { error = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, on = { eror = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, on = { error = 1 } }",
        "return { name = 'p', version = '1', requires_schema = 1, on = { ['network.connect'] = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, gate = { lifecycle = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, on = 1 }",
        "return { name = 'p', version = '1', requires_schema = 1 }",
        "return { name = {}, version = '1', requires_schema = 1, on = { error = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, on_eror = 'allow', on = { error = function() end } }",
        "return { name = 'p', version = '1', requires_schema = 1, on_error = 'maybe', on = { error = function() end } "
        "}",
        "return { name = 'p', version = '1', requires_schema = 1, args = { type = 'nonsense' }, on = { error = "
        "function() end } }",
        "local t = {} t.t = t return { name = 'p', version = '1', requires_schema = 1, args = t, on = { error = "
        "function() end } }",
        "local t = {} t.t = t return t"));

TEST(attack, deep_nesting_in_the_source_is_refused) {
  for (const char* piece : {"(", "{", "function() ", "if x then ", "do "}) {
    policy_folder folder;
    std::string text = "return ";
    for (int i = 0; i < 100000; ++i) text += piece;
    folder.write("p.lua", text);
    EXPECT_FALSE(policy_engine::load(folder.options({"p.lua"})));
  }
}

TEST(attack, an_event_is_dead_after_its_evaluation) {
  policy_folder folder;
  folder.write("p.lua", with_gate("if kept then return annotate(kept.command) end "
                                  "kept = event.data",
                                  "local kept"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine) << describe(engine.error());
  EXPECT_TRUE((*engine)->gate(make_event("command", {{"command", "one"}}), json::object()).failures.empty());
  const verdict v = (*engine)->gate(make_event("command", {{"command", "two"}}), json::object());
  ASSERT_EQ(v.failures.size(), 1u);
  EXPECT_NE(v.failures[0].message.find("ended"), std::string::npos) << v.failures[0].message;
}

TEST(attack, one_policy_cannot_reach_another) {
  policy_folder folder;
  folder.write("lib/shared.lua", "local M = { list = { 1 } } return M");
  const std::string start = "local m = require 'lib.shared' ";
  folder.write("a.lua",
               start +
                   "return { name = 'a', version = '1', requires_schema = 1, gate = { command = function(e, ctx) "
                   "m.list = nil; m.evil = true; ctx.state.x = 1; ctx.args = nil; ctx.session = nil end } }");
  folder.write("b.lua",
               start +
                   "return { name = 'b', version = '1', requires_schema = 1, gate = { command = function(e, ctx) "
                   "if m.evil or not m.list or ctx.state.x or not ctx.args or not ctx.session then return "
                   "deny('reached') end end } }");
  auto engine = policy_engine::load(folder.options({"a.lua", "b.lua"}));
  ASSERT_TRUE(engine) << describe(engine.error());
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ((*engine)->gate(make_event("command"), json::object()).kind, verdict_kind::allow);
}

TEST(attack, state_is_bounded_and_rolls_back) {
  policy_folder folder;
  folder.write(
      "p.lua",
      with_fact("ctx.state.good = (ctx.state.good or 0) + 1; if event.message == 'big' then ctx.state.big = "
                "string.rep('x', 100000) end "
                "if event.message == 'fn' then ctx.state.f = string.rep('y', 5000) ctx.state.g = function() end end"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  for (int i = 0; i < 64; ++i) (*engine)->observe(make_event("error", {{"message", "small"}}), json::object());
  for (const char* what : {"big", "fn"}) {
    const verdict v = (*engine)->observe(make_event("error", {{"message", what}}), json::object());
    ASSERT_EQ(v.failures.size(), 1u) << what;
    EXPECT_EQ(v.failures[0].reason, "policy_state");
    EXPECT_EQ((*engine)->session_state("s1")["p"], json({{"good", 64}})) << what;
  }
}

TEST(attack, colliding_long_keys_stay_within_the_time_budget) {
  // Long strings that differ in one byte; whatever the hash does, the budgets end it.
  const attempt a = run("local t, s = {}, string.rep('a', 60) for i = 1, 1e7 do t[s .. i .. s] = i end");
  EXPECT_EQ(a.answer.kind, verdict_kind::deny);
  EXPECT_LT(a.took, patience);
}

TEST(attack, a_storm_of_failures_leaks_nothing) {
  policy_folder folder;
  folder.write("p.lua", with_gate("local t = {} for i = 1, 1e9 do t[i] = {} end"));
  auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_TRUE(engine);
  for (int i = 0; i < 60; ++i) {
    const verdict v = (*engine)->gate(make_event("command", json::object(), "s" + std::to_string(i)), json::object());
    ASSERT_EQ(v.failures.size(), 1u);
    ASSERT_EQ(v.failures[0].reason, "policy_budget") << v.failures[0].message;
  }
}

TEST(attack, files_others_may_write_are_refused) {
  policy_folder folder;
  const auto file = folder.write("p.lua", with_gate(""));
  std::filesystem::permissions(file, std::filesystem::perms::all);
  const auto engine = policy_engine::load(folder.options({"p.lua"}));
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().reason, "policy_writable");
}

}  // namespace
}  // namespace caged::policy
