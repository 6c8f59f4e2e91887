// The bounded matcher against Lua's own, and its bounds.
#include <gtest/gtest.h>

#include <core/policy/lua_state.hpp>
#include <core/policy/pattern.hpp>
#include <random>

namespace caged::policy {
namespace {

TEST(pattern, malformed_patterns_are_named) {
  for (const char* pattern : {"%", "[a", "[%", "%b", "%bx", "%f", "%fa", "%1", "(", ")", "(()", "[]", "[^]"}) {
    std::int64_t steps = 1000;
    pattern_matcher matcher("abc", pattern, steps);
    bool failed = false;
    try {
      if (matcher.match_at("abc") != nullptr) {
        for (int i = 0; i < matcher.captures(); ++i) matcher.captured(i);
      }
    } catch (const pattern_error& e) {
      failed = std::string(e.what()).size() > 5;
    }
    EXPECT_TRUE(failed) << pattern;
  }
}

TEST(pattern, steps_run_out) {
  const std::string subject(1000, 'a');
  std::int64_t steps = 100'000;
  pattern_matcher matcher(subject, "a-a-a-a-b", steps);
  EXPECT_THROW(matcher.match_at(subject.data()), pattern_exhausted);
  EXPECT_LT(steps, 0);
}

// A state with Lua's own string library, and one with ours.
struct peers {
  lua_State* theirs = luaL_newstate();
  std::unique_ptr<lua_machine> ours = std::move(*lua_machine::make(64u << 20));
  peers() { luaL_openlibs(theirs); }
  ~peers() { lua_close(theirs); }

  static std::string collect(lua_State* state, int status, int base) {
    if (status != LUA_OK) {
      lua_settop(state, base);
      return "error";
    }
    std::string out;
    for (int i = base + 1; i <= lua_gettop(state); ++i) out += printable(state, i) + "|";
    lua_settop(state, base);
    return out;
  }

  std::string run(lua_State* state, const std::string& code, const std::string& subject, const std::string& pattern) {
    const int base = lua_gettop(state);
    if (luaL_loadstring(state, code.c_str()) != LUA_OK) return "bad test";
    if (state != theirs) {
      ours->push_environment();
      lua_setupvalue(state, -2, 1);
    }
    lua_pushlstring(state, subject.data(), subject.size());
    lua_pushlstring(state, pattern.data(), pattern.size());
    if (state != theirs) ours->meter().arm({});
    return collect(state, lua_pcall(state, 2, LUA_MULTRET, 0), base);
  }
};

TEST(pattern, same_answers_as_lua) {
  peers p;
  const char* const codes[] = {"local s, p = ... return string.find(s, p)",
                               "local s, p = ... return string.match(s, p)",
                               "local s, p = ... return string.gsub(s, p, '<%0>')",
                               "local s, p = ... return string.gsub(s, p, '%1', 2)",
                               "local s, p = ... local o = '' for a, b in string.gmatch(s, p) do o = o .. tostring(a) "
                               ".. ',' .. tostring(b) .. ';' end return o",
                               "local s, p = ... return string.find(s, p, -3)",
                               "local s, p = ... return string.find(s, p, 2, true)",
                               "local s, p = ... return string.gsub(s, p, { a = 'x', b = true, ab = false })"};
  std::mt19937 random(7);
  constexpr std::string_view letters = "aab1 ._-(";
  constexpr std::string_view pieces[] = {"a",     "b",      ".",    "%a", "%d", "%s", "%w",  "%p", "[ab]", "[^a]",
                                         "[a-c]", "%f[%w]", "%b()", "(",  ")",  "()", "*",   "+",  "-",    "?",
                                         "^",     "$",      "%1",   "%",  "[",  "]",  "[]]", "%-"};
  int compared = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string subject, pattern;
    for (auto n = random() % 9; n > 0; --n) subject += letters[random() % letters.size()];
    for (auto n = random() % 6; n > 0; --n) pattern += pieces[random() % std::size(pieces)];
    const std::string code = codes[random() % std::size(codes)];
    const auto expected = p.run(p.theirs, code, subject, pattern);
    const auto found = p.run(p.ours->raw(), code, subject, pattern);
    ASSERT_EQ(found, expected) << code << "\nsubject: " << subject << "\npattern: " << pattern;
    compared += expected != "error";
  }
  EXPECT_GT(compared, 1000);
}

}  // namespace
}  // namespace caged::policy
