// The verdict constructors of policies and the reader of their answers.
#include <core/policy/lua_verdict.hpp>

#include <array>
#include <cmath>
#include <core/policy/lua_json.hpp>

namespace caged::policy {
namespace {

constexpr std::size_t max_text = 1024;
constexpr std::size_t max_answers = 64;

// Copies `rule` and `advice` from an options table at `index` into the verdict on the stack's top.
void copy_options(lua_State* state, int index) {
  if (lua_isnoneornil(state, index)) return;
  luaL_checktype(state, index, LUA_TTABLE);
  for (const char* key : {"rule", "advice"}) {
    lua_getfield(state, index, key);
    lua_setfield(state, -2, key);
  }
}

// kind(reason [, {rule=, advice=}]): the kind is the upvalue.
int simple_verdict(lua_State* state) {
  charge(state, 2);
  const char* kind = lua_tostring(state, lua_upvalueindex(1));
  if (std::string_view(kind) != "allow") luaL_checkstring(state, 1);
  lua_settop(state, 2);
  lua_createtable(state, 0, 4);
  lua_pushvalue(state, lua_upvalueindex(1));
  lua_setfield(state, -2, "kind");
  lua_pushvalue(state, 1);
  lua_setfield(state, -2, "reason");
  copy_options(state, 2);
  return 1;
}

int deduct_verdict(lua_State* state) {
  charge(state, 2);
  luaL_checknumber(state, 1);
  luaL_checkstring(state, 2);
  lua_settop(state, 3);
  lua_createtable(state, 0, 5);
  lua_pushliteral(state, "deduct");
  lua_setfield(state, -2, "kind");
  lua_pushvalue(state, 1);
  lua_setfield(state, -2, "points");
  lua_pushvalue(state, 2);
  lua_setfield(state, -2, "reason");
  copy_options(state, 3);
  return 1;
}

int annotate_verdict(lua_State* state) {
  charge(state, 2);
  luaL_checkany(state, 1);
  lua_settop(state, 1);
  lua_createtable(state, 0, 2);
  lua_pushliteral(state, "annotate");
  lua_setfield(state, -2, "kind");
  lua_pushvalue(state, 1);
  lua_setfield(state, -2, "value");
  return 1;
}

error refuse(std::string message) {
  return fail(errc::invalid_argument, "policy_verdict", std::move(message),
              "return nil, or what allow(), deny(), ask(), pause(), kill(), deduct() or annotate() made");
}

std::string text_field(lua_State* state, int index, const char* key) {
  lua_pushstring(state, key);
  lua_rawget(state, index);
  std::string out;
  if (lua_type(state, -1) == LUA_TSTRING) {
    std::size_t size = 0;
    const char* text = lua_tolstring(state, -1, &size);
    out.assign(text, std::min(size, max_text));
  }
  lua_pop(state, 1);
  return out;
}

verdict_kind kind_named(std::string_view name) {
  for (const auto kind :
       {verdict_kind::allow, verdict_kind::ask, verdict_kind::deny, verdict_kind::pause, verdict_kind::kill}) {
    if (to_string(kind) == name) return kind;
  }
  return verdict_kind::unset;
}

class answer_reader {
 public:
  answer_reader(lua_State* state, stage at, const std::string& policy) : state_(state), at_(at), policy_(policy) {}

  result<void> read(int index, int depth) {
    index = lua_absindex(state_, index);
    if (lua_isnil(state_, index)) return {};
    if (lua_type(state_, index) != LUA_TTABLE) {
      return refuse("a handler returned a " + std::string(luaL_typename(state_, index)) + " instead of a verdict");
    }
    if (++answers_ > max_answers) return refuse("a handler returned more than 64 verdicts");
    const std::string name = text_field(state_, index, "kind");
    if (name.empty()) return sequence(index, depth);
    if (name == "deduct") return deduct(index);
    if (name == "annotate") return annotate(index);
    return plain(index, name);
  }

  verdict take() && { return std::move(out_); }

 private:
  result<void> sequence(int index, int depth) {
    const auto length = static_cast<lua_Integer>(lua_rawlen(state_, index));
    if (depth > 0 || length == 0) {
      lua_pushnil(state_);
      if (lua_next(state_, index) == 0 && depth == 0) return {};  // {} is no verdict at all
      return refuse("a handler returned a table that is no verdict");
    }
    for (lua_Integer i = 1; i <= length; ++i) {
      lua_rawgeti(state_, index, i);
      auto done = read(-1, depth + 1);
      lua_pop(state_, 1);
      if (!done) return done;
    }
    return {};
  }

  result<void> deduct(int index) {
    deduction d{0, text_field(state_, index, "reason"), text_field(state_, index, "rule"), policy_,
                text_field(state_, index, "advice")};
    lua_pushliteral(state_, "points");
    lua_rawget(state_, index);
    d.points = lua_tonumber(state_, -1);
    lua_pop(state_, 1);
    if (!std::isfinite(d.points) || d.points <= 0 || d.points > 100) {
      return refuse("deduct() takes more than 0 and at most 100 points");
    }
    if (d.reason.empty()) return refuse("deduct() needs a reason");
    if (d.rule.empty()) d.rule = policy_;
    out_.deductions.push_back(std::move(d));
    return {};
  }

  result<void> annotate(int index) {
    lua_pushliteral(state_, "value");
    lua_rawget(state_, index);
    auto value = to_json(state_, -1, {8, 8192});
    lua_pop(state_, 1);
    if (!value) return value.error();
    verdict one;
    one.kind = verdict_kind::annotate;
    one.policy = policy_;
    one.annotations.push_back({policy_, std::move(*value)});
    out_.combine(std::move(one));
    return {};
  }

  result<void> plain(int index, const std::string& name) {
    verdict one;
    one.kind = kind_named(name);
    if (one.kind == verdict_kind::unset)
      return refuse("a handler returned the unknown verdict '" + printable(name) + "'");
    if (at_ == stage::fact && (one.kind == verdict_kind::deny || one.kind == verdict_kind::ask)) {
      return refuse(name +
                    "() answers a question, and a fact is none: it has happened. Move the handler to `gate`, or use "
                    "deduct(), pause() or kill()");
    }
    one.reason = text_field(state_, index, "reason");
    if (one.reason.empty() && one.kind != verdict_kind::allow) return refuse(name + "() needs a reason");
    one.rule = text_field(state_, index, "rule");
    one.advice = text_field(state_, index, "advice");
    one.policy = policy_;
    if (one.kind != verdict_kind::allow && one.rule.empty()) one.rule = policy_;
    out_.combine(std::move(one));
    return {};
  }

  lua_State* state_;
  stage at_;
  const std::string& policy_;
  std::size_t answers_ = 0;
  verdict out_;
};

}  // namespace

void set_verdict_functions(lua_State* state) {
  for (const char* kind : {"allow", "deny", "ask", "pause", "kill"}) {
    lua_pushstring(state, kind);
    lua_pushcclosure(state, simple_verdict, 1);
    lua_setfield(state, -2, kind);
  }
  lua_pushcfunction(state, deduct_verdict);
  lua_setfield(state, -2, "deduct");
  lua_pushcfunction(state, annotate_verdict);
  lua_setfield(state, -2, "annotate");
}

result<verdict> read_answers(lua_State* state, int count, stage at, const std::string& policy) {
  const int top = lua_gettop(state);
  answer_reader reader(state, at, policy);
  result<void> done;
  for (int i = top - count + 1; i <= top && done; ++i) done = reader.read(i, 0);
  lua_settop(state, top);
  if (!done) return done.error();
  return std::move(reader).take();
}

}  // namespace caged::policy
