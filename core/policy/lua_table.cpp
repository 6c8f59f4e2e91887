// The basic functions and the table and math libraries of policies: no metatables, no loading, no randomness.
#include <core/policy/lua_state.hpp>

namespace caged::policy {
namespace {

int charged_once(lua_State* state) {
  charge(state, 1);
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

// Table functions cost what they move: the length of the table they are given.
int charged_by_length(lua_State* state) {
  luaL_checktype(state, 1, LUA_TTABLE);
  charge(state, 1 + static_cast<std::int64_t>(lua_rawlen(state, 1)) / 4);
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

int insert(lua_State* state) {
  luaL_checktype(state, 1, LUA_TTABLE);
  const auto length = static_cast<lua_Integer>(lua_rawlen(state, 1));
  const lua_Integer place = lua_gettop(state) >= 3 ? luaL_checkinteger(state, 2) : length;
  charge(state, 1 + (place > 0 && place < length ? length - place : 0));
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

// Sorting compares n log n times whatever the comparison does; its own calls are counted by the hook.
int sort(lua_State* state) {
  luaL_checktype(state, 1, LUA_TTABLE);
  const auto length = static_cast<std::int64_t>(lua_rawlen(state, 1));
  std::int64_t levels = 1;
  while ((std::int64_t{1} << levels) < length) ++levels;
  charge(state, 1 + length * levels);
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

int unpack(lua_State* state) {
  const lua_Integer first = luaL_optinteger(state, 2, 1);
  const lua_Integer last = lua_isnoneornil(state, 3) ? luaL_len(state, 1) : luaL_checkinteger(state, 3);
  if (last > first && static_cast<lua_Unsigned>(last) - static_cast<lua_Unsigned>(first) >= 1000) {
    return luaL_error(state, "table.unpack: more than 1000 results");
  }
  charge(state, 1 + (last > first ? last - first : 0));
  return lua_tocfunction(state, lua_upvalueindex(1))(state);
}

int to_string(lua_State* state) {
  luaL_checkany(state, 1);
  switch (lua_type(state, 1)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
      luaL_tolstring(state, 1, nullptr);
      break;
    default:
      lua_pushstring(state, luaL_typename(state, 1));  // never an address
  }
  return 1;
}

void take(lua_State* state, std::initializer_list<const char*> names, lua_CFunction wrapper) {
  for (const char* name : names) {
    lua_getfield(state, -1, name);
    lua_pushcclosure(state, wrapper, 1);
    lua_setfield(state, -3, name);
  }
}

}  // namespace

void set_basic_functions(lua_State* state) {
  lua_pushcfunction(state, luaopen_base);  // writes into the registry's globals, which no policy ever sees
  lua_call(state, 0, 1);
  for (const char* name : {"assert", "error", "ipairs", "next", "pairs", "rawequal", "rawlen", "select", "type"}) {
    lua_getfield(state, -1, name);
    lua_setfield(state, -3, name);
  }
  take(state, {"tonumber"}, charged_once);
  lua_pop(state, 1);
  lua_pushcfunction(state, to_string);
  lua_setfield(state, -2, "tostring");
  // What luaopen_base left behind is emptied, so that not even a future slip can reach load or setmetatable.
  lua_newtable(state);
  lua_rawseti(state, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}

void push_table_library(lua_State* state) {
  lua_createtable(state, 0, 8);
  lua_pushcfunction(state, luaopen_table);
  lua_call(state, 0, 1);
  take(state, {"concat", "remove"}, charged_by_length);
  take(state, {"pack"}, charged_once);
  take(state, {"insert"}, insert);
  take(state, {"sort"}, sort);
  take(state, {"unpack"}, unpack);
  lua_pop(state, 1);
}

void push_math_library(lua_State* state) {
  lua_createtable(state, 0, 24);
  lua_pushcfunction(state, luaopen_math);
  lua_call(state, 0, 1);
  for (const char* name : {"abs", "ceil", "exp", "floor", "fmod", "huge", "log", "max", "maxinteger", "min",
                           "mininteger", "modf", "pi", "sqrt", "tointeger", "type", "ult"}) {
    lua_getfield(state, -1, name);
    lua_setfield(state, -3, name);
  }
  lua_pop(state, 1);
}

}  // namespace caged::policy
