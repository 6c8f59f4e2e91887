// shell.parse and shell.base64_decode as policies see them.
#include <core/policy/lua_state.hpp>
#include <core/policy/shell_parser.hpp>

namespace caged::policy {
namespace {

constexpr int max_nesting = 32;

void push_text(lua_State* state, const std::string& text) { lua_pushlstring(state, text.data(), text.size()); }

void set_text(lua_State* state, const char* key, const std::string& text) {
  push_text(state, text);
  lua_setfield(state, -2, key);
}

void push_script(lua_State* state, const shell::script& s, int nesting);

void push_words(lua_State* state, const shell::command& c) {
  lua_createtable(state, static_cast<int>(c.words.size()), 0);
  for (std::size_t i = 0; i < c.words.size(); ++i) {
    push_text(state, c.words[i].text);
    lua_rawseti(state, -2, static_cast<lua_Integer>(i + 1));
  }
  lua_setfield(state, -2, "argv");
  bool any = false;
  for (std::size_t i = 0; i < c.words.size(); ++i) {
    if (!c.words[i].dynamic) continue;
    if (!any) lua_newtable(state);
    any = true;
    lua_pushboolean(state, 1);
    lua_rawseti(state, -2, static_cast<lua_Integer>(i + 1));
  }
  if (any) lua_setfield(state, -2, "dynamic");
}

void push_parts(lua_State* state, const shell::command& c, int nesting) {
  if (!c.assignments.empty()) {
    lua_newtable(state);
    for (const auto& [name, value] : c.assignments) set_text(state, name.c_str(), value.text);
    lua_setfield(state, -2, "assigns");
  }
  if (!c.redirects.empty()) {
    lua_newtable(state);
    lua_Integer i = 0;
    for (const auto& r : c.redirects) {
      lua_createtable(state, 0, 3);
      set_text(state, "op", r.op);
      set_text(state, "target", r.target.text);
      if (r.fd >= 0) {
        lua_pushinteger(state, r.fd);
        lua_setfield(state, -2, "fd");
      }
      lua_rawseti(state, -2, ++i);
    }
    lua_setfield(state, -2, "redirects");
  }
  if (!c.substitutions.empty()) {
    lua_newtable(state);
    lua_Integer i = 0;
    for (const auto& s : c.substitutions) {
      lua_createtable(state, 0, 3);
      set_text(state, "kind", s.kind);
      lua_pushinteger(state, s.place + 1);
      lua_setfield(state, -2, "word");
      push_script(state, *s.inner, nesting + 1);
      lua_setfield(state, -2, "script");
      lua_rawseti(state, -2, ++i);
    }
    lua_setfield(state, -2, "subs");
  }
}

void push_command(lua_State* state, const shell::command& c, int nesting) {
  lua_createtable(state, 0, 4);
  set_text(state, "op", c.op);
  push_words(state, c);
  push_parts(state, c, nesting);
  if (c.input) set_text(state, "input", *c.input);
  if (c.group) {
    push_script(state, *c.group, nesting + 1);
    lua_setfield(state, -2, "group");
  }
}

// A function that calls itself makes a script a part of itself, so nesting is what ends this.
void push_script(lua_State* state, const shell::script& s, int nesting) {
  luaL_checkstack(state, 8, "shell text nested too deep");
  charge(state, 10);
  lua_createtable(state, 0, 2);
  lua_pushboolean(state, s.complete && nesting < max_nesting);
  lua_setfield(state, -2, "complete");
  lua_createtable(state, static_cast<int>(s.commands.size()), 0);
  if (nesting < max_nesting) {
    lua_Integer i = 0;
    for (const auto& c : s.commands) {
      charge(state, 5 + static_cast<std::int64_t>(c.words.size()));
      push_command(state, c, nesting);
      lua_rawseti(state, -2, ++i);
    }
  }
  lua_setfield(state, -2, "commands");
}

int parse(lua_State* state) {
  std::size_t size = 0;
  const char* text = luaL_checklstring(state, 1, &size);
  charge(state, 20 + static_cast<std::int64_t>(size));
  push_script(state, shell::parse({text, size}), 0);
  return 1;
}

int base64_decode(lua_State* state) {
  std::size_t size = 0;
  const char* text = luaL_checklstring(state, 1, &size);
  charge(state, 1 + static_cast<std::int64_t>(size / 4));
  push_text(state, shell::base64_decode({text, size}));
  return 1;
}

}  // namespace

void push_shell_library(lua_State* state) {
  const luaL_Reg functions[] = {{"parse", parse}, {"base64_decode", base64_decode}, {nullptr, nullptr}};
  luaL_newlib(state, functions);
}

}  // namespace caged::policy
