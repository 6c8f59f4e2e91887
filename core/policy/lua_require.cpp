// require() of policies: modules of <root>/lib only, a copy of its own for every policy.
#include <core/policy/policy_set.hpp>

namespace caged::policy {
namespace {

std::string library_file(std::string_view name) {
  constexpr std::string_view prefix = "lib.";
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name.empty() || name.size() > 64) return {};
  if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string_view::npos) return {};
  return std::string(name) + ".lua";
}

}  // namespace

// Pushes the function; its upvalues are this set and the table of what this policy has loaded.
void policy_set::push_require() {
  lua_State* state = machine_->raw();
  lua_pushlightuserdata(state, this);
  lua_newtable(state);
  lua_pushcclosure(state, &policy_set::require, 2);
}

int policy_set::require(lua_State* state) {
  charge(state, 10);
  std::size_t size = 0;
  const char* text = luaL_checklstring(state, 1, &size);
  const std::string name(text, size);
  lua_settop(state, 1);
  lua_getfield(state, lua_upvalueindex(2), name.c_str());
  if (lua_isboolean(state, -1)) return luaL_error(state, "require: '%s' requires itself", printable(name, 64).c_str());
  if (!lua_isnil(state, -1)) return 1;
  lua_pop(state, 1);
  auto& self = *static_cast<policy_set*>(lua_touserdata(state, lua_upvalueindex(1)));
  // Loading is over when the first event comes: a handler may not read files.
  if (self.views_.evaluating()) return luaL_error(state, "require: only while a policy is loaded, not in a handler");
  lua_pushboolean(state, 1);
  lua_setfield(state, lua_upvalueindex(2), name.c_str());
  auto loaded = self.load_library(state, name, lua_upvalueindex(2));
  if (!loaded)
    return luaL_error(state, "require '%s': %s", printable(name, 64).c_str(), loaded.error().message.c_str());
  return 1;
}

// Leaves the module's value on the stack's top.
result<void> policy_set::load_library(lua_State* state, const std::string& name, int loaded) {
  const std::string file = library_file(name);
  if (file.empty()) {
    return fail(errc::invalid_argument, "invalid_module", "a policy may load only modules named lib.<name>",
                "put the module into policies/lib");
  }
  for (const auto& root : options_.roots) {
    const auto path = root / "lib" / file;
    std::error_code ec;
    if (!std::filesystem::is_regular_file(path, ec)) continue;
    auto text = read_source(path);
    if (!text) return text.error();
    files_.push_back({path, std::filesystem::last_write_time(path, ec), text->size()});
    machine_->push_environment();
    lua_pushliteral(state, "require");
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_pushvalue(state, loaded);
    lua_pushcclosure(state, &policy_set::require, 2);
    lua_rawset(state, -3);
    auto chunk = machine_->load_text(*text, "@lib/" + file, -1);
    if (!chunk) return chunk.error();
    lua_remove(state, -2);
    lua_call(state, 0, 1);
    if (lua_type(state, -1) != LUA_TTABLE) return fail(errc::invalid_argument, "invalid_module", "it returns no table");
    lua_pushvalue(state, -1);
    lua_setfield(state, loaded, name.c_str());
    return {};
  }
  return fail(errc::not_found, "module_not_found", "there is no lib/" + file + " in the policy folders",
              "check the name");
}

}  // namespace caged::policy
