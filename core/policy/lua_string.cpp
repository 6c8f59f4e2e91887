// The string library of policies: bounded in steps and size; no dump, no pack, no addresses.
#include <core/policy/lua_state.hpp>
#include <core/policy/pattern.hpp>

namespace caged::policy {
namespace {

constexpr std::size_t max_repeat = 1u << 20;

std::string_view string_argument(lua_State* state, int index) {
  std::size_t size = 0;
  const char* text = luaL_checklstring(state, index, &size);
  return {text, size};
}

// Runs a function of Lua's own library (the upvalue) after charging for the length of its strings.
int charged(lua_State* state) {
  std::int64_t cost = 1;
  for (int i = 1, n = lua_gettop(state); i <= n; ++i) {
    if (lua_type(state, i) == LUA_TSTRING) cost += static_cast<std::int64_t>(lua_rawlen(state, i) / 16);
  }
  charge(state, cost);
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

int repeat(lua_State* state) {
  const auto text = string_argument(state, 1);
  const lua_Integer count = luaL_checkinteger(state, 2);
  const auto separator = lua_isnoneornil(state, 3) ? std::string_view{} : string_argument(state, 3);
  if (count <= 0 || text.size() + separator.size() == 0) {
    lua_pushliteral(state, "");
    return 1;
  }
  const std::size_t piece = text.size() + separator.size();
  if (static_cast<lua_Unsigned>(count) > max_repeat / piece) {
    return luaL_error(state, "string.rep: the result would be longer than %d bytes", static_cast<int>(max_repeat));
  }
  charge(state, static_cast<std::int64_t>(piece * static_cast<std::size_t>(count) / 16 + 1));
  luaL_Buffer buffer;
  luaL_buffinit(state, &buffer);
  for (lua_Integer i = 0; i < count; ++i) {
    if (i > 0) luaL_addlstring(&buffer, separator.data(), separator.size());
    luaL_addlstring(&buffer, text.data(), text.size());
  }
  luaL_pushresult(&buffer);
  return 1;
}

// Lua's own format after a look at the conversions: no %p, and %s only of plain values, so no address is ever shown.
int format(lua_State* state) {
  const auto text = string_argument(state, 1);
  int argument = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (++i < text.size() && text[i] == '%') continue;
    while (i < text.size() && std::string_view("-+ #0123456789.").find(text[i]) != std::string_view::npos) ++i;
    ++argument;
    const char conversion = i < text.size() ? text[i] : '\0';
    if (conversion == 'p') return luaL_error(state, "string.format: '%%p' is not available to policies");
    const int type = lua_type(state, argument);
    const bool plain = type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN || type == LUA_TNIL;
    if ((conversion == 's' || conversion == 'q') && !plain && type != LUA_TNONE) {
      return luaL_error(state, "string.format: '%%%c' cannot show a %s value", conversion,
                        luaL_typename(state, argument));
    }
  }
  return charged(state);
}

template <int (*Function)(lua_State*)>
int with_pattern(lua_State* state) {
  try {
    return Function(state);
  } catch (const pattern_exhausted&) {
    charge(state, 0);
    return luaL_error(state, "stopped: the pattern took too many steps");
  } catch (const pattern_error& e) {
    return luaL_error(state, "%s", e.what());
  }
}

// Pushes capture `index`; capture 0 of a pattern without captures is the whole match.
void push_capture(lua_State* state, const pattern_matcher& matcher, int index, std::string_view subject,
                  const char* begin, const char* end) {
  if (index >= matcher.captures()) {
    if (index != 0) throw pattern_error("invalid capture index");
    lua_pushlstring(state, begin, static_cast<std::size_t>(end - begin));
    return;
  }
  const auto& c = matcher.captured(index);
  if (c.length == pattern_matcher::position_capture) {
    lua_pushinteger(state, c.begin - subject.data() + 1);
  } else {
    lua_pushlstring(state, c.begin, static_cast<std::size_t>(c.length));
  }
}

int push_captures(lua_State* state, const pattern_matcher& matcher, std::string_view subject, const char* begin,
                  const char* end) {
  const int count = matcher.captures() == 0 && begin != nullptr ? 1 : matcher.captures();
  luaL_checkstack(state, count, "too many captures");
  for (int i = 0; i < count; ++i) push_capture(state, matcher, i, subject, begin, end);
  return count;
}

std::size_t start_position(lua_Integer position, std::size_t length) {
  if (position > 0) return static_cast<std::size_t>(position - 1);
  if (position == 0 || position < -static_cast<lua_Integer>(length)) return 0;
  return length - static_cast<std::size_t>(-position);
}

bool has_specials(std::string_view pattern) { return pattern.find_first_of("^$*+?.([%-") != std::string_view::npos; }

int find_or_match(lua_State* state, int want_positions) {
  const auto subject = string_argument(state, 1);
  auto pattern = string_argument(state, 2);
  const std::size_t from = start_position(luaL_optinteger(state, 3, 1), subject.size());
  charge(state, 2);
  if (from > subject.size()) {
    lua_pushnil(state);
    return 1;
  }
  if (want_positions != 0 && (lua_toboolean(state, 4) != 0 || !has_specials(pattern))) {
    charge(state, static_cast<std::int64_t>((subject.size() - from + pattern.size()) / 8));
    const auto at = find_plain(subject, pattern, from);
    if (!at) {
      lua_pushnil(state);
      return 1;
    }
    lua_pushinteger(state, static_cast<lua_Integer>(*at + 1));
    lua_pushinteger(state, static_cast<lua_Integer>(*at + pattern.size()));
    return 2;
  }
  const bool anchored = !pattern.empty() && pattern.front() == '^';
  if (anchored) pattern.remove_prefix(1);
  pattern_matcher matcher(subject, pattern, meter_of(state).work_left());
  const char* const end = subject.data() + subject.size();
  for (const char* at = subject.data() + from; at <= end; ++at) {
    if (const char* stop = matcher.match_at(at)) {
      if (want_positions == 0) return push_captures(state, matcher, subject, at, stop);
      lua_pushinteger(state, at - subject.data() + 1);
      lua_pushinteger(state, stop - subject.data());
      return push_captures(state, matcher, subject, nullptr, nullptr) + 2;
    }
    if (anchored) break;
  }
  lua_pushnil(state);
  return 1;
}

int find(lua_State* state) { return find_or_match(state, 1); }
int match(lua_State* state) { return find_or_match(state, 0); }

// Upvalues: subject, pattern, next offset, end of the last match (-1 none).
int gmatch_next(lua_State* state) {
  const auto subject = string_argument(state, lua_upvalueindex(1));
  const auto pattern = string_argument(state, lua_upvalueindex(2));
  const auto from = static_cast<std::size_t>(lua_tointeger(state, lua_upvalueindex(3)));
  const lua_Integer last = lua_tointeger(state, lua_upvalueindex(4));
  pattern_matcher matcher(subject, pattern, meter_of(state).work_left());
  const char* const end = subject.data() + subject.size();
  for (const char* at = subject.data() + from; at <= end; ++at) {
    const char* stop = matcher.match_at(at);
    if (stop == nullptr || stop - subject.data() == last) continue;
    lua_pushinteger(state, stop - subject.data());
    lua_copy(state, -1, lua_upvalueindex(3));
    lua_replace(state, lua_upvalueindex(4));
    return push_captures(state, matcher, subject, at, stop);
  }
  lua_pushinteger(state, static_cast<lua_Integer>(subject.size() + 1));  // a further call finds nothing
  lua_replace(state, lua_upvalueindex(3));
  return 0;
}

int gmatch_step(lua_State* state) {
  charge(state, 2);
  if (lua_tointeger(state, lua_upvalueindex(3)) > static_cast<lua_Integer>(lua_rawlen(state, lua_upvalueindex(1)))) {
    return 0;
  }
  return with_pattern<gmatch_next>(state);
}

int gmatch(lua_State* state) {
  const auto subject = string_argument(state, 1);
  string_argument(state, 2);
  const std::size_t from = start_position(luaL_optinteger(state, 3, 1), subject.size());
  lua_settop(state, 2);
  lua_pushinteger(state, static_cast<lua_Integer>(std::min(from, subject.size() + 1)));
  lua_pushinteger(state, -1);
  lua_pushcclosure(state, gmatch_step, 4);
  return 1;
}

void add_replacement_text(lua_State* state, luaL_Buffer& out, const pattern_matcher& matcher, std::string_view subject,
                          const char* begin, const char* end) {
  const auto text = string_argument(state, 3);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      luaL_addchar(&out, text[i]);
      continue;
    }
    const char c = ++i < text.size() ? text[i] : '\0';
    if (c == '%') {
      luaL_addchar(&out, '%');
    } else if (c == '0') {
      luaL_addlstring(&out, begin, static_cast<std::size_t>(end - begin));
    } else if (c >= '1' && c <= '9') {
      push_capture(state, matcher, c - '1', subject, begin, end);
      luaL_tolstring(state, -1, nullptr);
      lua_remove(state, -2);
      luaL_addvalue(&out);
    } else {
      throw pattern_error("invalid use of '%' in replacement string");
    }
  }
}

void add_replacement(lua_State* state, luaL_Buffer& out, const pattern_matcher& matcher, std::string_view subject,
                     const char* begin, const char* end) {
  const int type = lua_type(state, 3);
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    add_replacement_text(state, out, matcher, subject, begin, end);
    return;
  }
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(state, 3);
    const int count = push_captures(state, matcher, subject, begin, end);
    lua_call(state, count, 1);
  } else {
    push_capture(state, matcher, 0, subject, begin, end);
    lua_gettable(state, 3);
  }
  if (!lua_toboolean(state, -1)) {
    lua_pop(state, 1);
    luaL_addlstring(&out, begin, static_cast<std::size_t>(end - begin));
  } else if (!lua_isstring(state, -1)) {
    luaL_error(state, "invalid replacement value (a %s)", luaL_typename(state, -1));
  } else {
    luaL_addvalue(&out);
  }
}

int gsub(lua_State* state) {
  const auto subject = string_argument(state, 1);
  auto pattern = string_argument(state, 2);
  const int type = lua_type(state, 3);
  luaL_argexpected(state, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                   "string/function/table");
  const lua_Integer most = luaL_optinteger(state, 4, static_cast<lua_Integer>(subject.size()) + 1);
  charge(state, 2);
  const bool anchored = !pattern.empty() && pattern.front() == '^';
  if (anchored) pattern.remove_prefix(1);
  luaL_Buffer out;
  luaL_buffinit(state, &out);
  pattern_matcher matcher(subject, pattern, meter_of(state).work_left());
  const char* const end = subject.data() + subject.size();
  const char* at = subject.data();
  const char* last = nullptr;
  lua_Integer count = 0;
  while (count < most) {
    const char* stop = matcher.match_at(at);
    if (stop != nullptr && stop != last) {
      ++count;
      add_replacement(state, out, matcher, subject, at, stop);
      at = last = stop;
    } else if (at < end) {
      luaL_addchar(&out, *at);
      ++at;
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&out, at, static_cast<std::size_t>(end - at));
  luaL_pushresult(&out);
  lua_pushinteger(state, count);
  return 2;
}

}  // namespace

void push_string_library(lua_State* state) {
  lua_createtable(state, 0, 16);
  lua_pushcfunction(state, luaopen_string);
  lua_call(state, 0, 1);
  // Constant time, or paid for by what they allocate; the rest is charged by length.
  for (const char* name : {"byte", "len", "sub"}) {
    lua_getfield(state, -1, name);
    lua_setfield(state, -3, name);
  }
  for (const char* name : {"char", "lower", "reverse", "upper"}) {
    lua_getfield(state, -1, name);
    lua_pushcclosure(state, charged, 1);
    lua_setfield(state, -3, name);
  }
  lua_getfield(state, -1, "format");
  lua_pushcclosure(state, format, 1);
  lua_setfield(state, -3, "format");
  lua_pop(state, 1);
  const luaL_Reg own[] = {{"rep", repeat},    {"find", with_pattern<find>}, {"match", with_pattern<match>},
                          {"gmatch", gmatch}, {"gsub", with_pattern<gsub>}, {nullptr, nullptr}};
  luaL_setfuncs(state, own, 0);
  // Methods of strings (s:find) come from here; the metatable Lua installed, with dump in its index, is replaced.
  lua_pushliteral(state, "");
  lua_createtable(state, 0, 2);
  lua_pushvalue(state, -3);
  lua_setfield(state, -2, "__index");
  lua_pushboolean(state, 0);
  lua_setfield(state, -2, "__metatable");
  lua_setmetatable(state, -2);
  lua_pop(state, 1);
}

}  // namespace caged::policy
