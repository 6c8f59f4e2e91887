#include <core/policy/lua_state.hpp>

#include <cstdlib>
#include <cstring>

namespace caged::policy {
namespace {

// Small enough that the clock is looked at every few ten microseconds.
constexpr int hook_interval = 1000;

int refuse_write(lua_State* state) {
  const char* what = lua_tostring(state, lua_upvalueindex(1));
  return luaL_error(state, "%s cannot be changed (assignment to '%s'): declare it local, or keep it in ctx.state", what,
                    printable(state, 2).c_str());
}

int view_next(lua_State* state) {
  charge(state, 1);
  lua_settop(state, 2);
  if (lua_next(state, lua_upvalueindex(1)) != 0) return 2;
  lua_pushnil(state);
  return 1;
}

int view_pairs(lua_State* state) {
  lua_pushvalue(state, lua_upvalueindex(1));
  lua_pushcclosure(state, view_next, 1);
  lua_pushnil(state);
  lua_pushnil(state);
  return 3;
}

int view_length(lua_State* state) {
  lua_pushinteger(state, static_cast<lua_Integer>(lua_rawlen(state, lua_upvalueindex(1))));
  return 1;
}

int run_native(lua_State* state) {
  auto* work = static_cast<const std::function<void(lua_State*)>*>(lua_touserdata(state, 1));
  lua_settop(state, 0);
  (*work)(state);
  return 0;
}

int at_panic(lua_State*) {
  // Never reached: every entry is protected. Aborting is better than running on with a broken interpreter.
  std::abort();
}

}  // namespace

std::string_view to_string(exhausted e) noexcept {
  switch (e) {
    case exhausted::work:
      return "instruction budget";
    case exhausted::time:
      return "time budget";
    case exhausted::memory:
      return "memory budget";
    default:
      return "";
  }
}

void script_meter::arm(const script_budget& budget) noexcept {
  work_left_ = budget.work;
  volume_ = 0;
  volume_limit_ = budget.allocation;
  deadline_ = std::chrono::steady_clock::now() + budget.time;
  tripped_ = exhausted::unset;
  armed_ = true;
}

bool script_meter::over_time() const noexcept { return std::chrono::steady_clock::now() > deadline_; }

bool script_meter::spend(std::int64_t work) noexcept {
  if (!armed_) return true;
  if (tripped_ != exhausted::unset) return false;
  if ((work_left_ -= work) < 0) {
    tripped_ = exhausted::work;
  } else if (work >= hook_interval && over_time()) {
    tripped_ = exhausted::time;
  }
  return tripped_ == exhausted::unset;
}

void* script_meter::allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) noexcept {
  auto& meter = *static_cast<script_meter*>(self);
  const std::size_t before = block == nullptr ? 0 : old_size;  // without a block Lua passes a type tag
  if (new_size == 0) {
    std::free(block);
    meter.live_ -= before;
    return nullptr;
  }
  if (new_size > before) {
    const std::size_t more = new_size - before;
    if (meter.live_ + more > meter.memory_limit_) return nullptr;  // Lua collects garbage and tries again
    if (meter.armed_ && (meter.volume_ += more) > meter.volume_limit_) {
      meter.tripped_ = exhausted::memory;
      return nullptr;
    }
  }
  void* fresh = std::realloc(block, new_size);
  if (fresh == nullptr) return new_size <= before ? block : nullptr;  // Lua relies on shrinking never failing
  meter.live_ = meter.live_ - before + new_size;
  return fresh;
}

void script_meter::hook(lua_State* state, lua_Debug*) {
  auto& meter = meter_of(state);
  if (meter.spend(hook_interval)) return;
  lua_sethook(state, &script_meter::hook, LUA_MASKCOUNT, 1);  // whatever still runs is stopped at once
  luaL_error(state, "stopped: the %s is spent", std::string(to_string(meter.tripped())).c_str());
}

script_meter& meter_of(lua_State* state) noexcept { return machine_of(state).meter(); }

lua_machine& machine_of(lua_State* state) noexcept {
  lua_machine* machine = nullptr;
  std::memcpy(&machine, lua_getextraspace(state), sizeof machine);
  return *machine;
}

void charge(lua_State* state, std::int64_t work) {
  auto& meter = meter_of(state);
  if (meter.spend(work)) return;
  luaL_error(state, "stopped: the %s is spent", std::string(to_string(meter.tripped())).c_str());
}

result<std::unique_ptr<lua_machine>> lua_machine::make(std::size_t memory_limit) {
  std::unique_ptr<lua_machine> machine(new lua_machine(memory_limit));
  machine->state_ = lua_newstate(&script_meter::allocate, &machine->meter_);
  if (machine->state_ == nullptr) {
    return fail(errc::limit_exceeded, "policy_memory", "there is not enough memory for a policy interpreter",
                "raise the memory limit of policies");
  }
  lua_machine* self = machine.get();
  std::memcpy(lua_getextraspace(self->state_), &self, sizeof self);
  lua_atpanic(self->state_, at_panic);
  auto ready = self->guarded({}, [self](lua_State* state) {
    lua_newtable(state);
    set_basic_functions(state);
    set_verdict_functions(state);
    push_string_library(state);
    push_read_only(state, "string");
    lua_setfield(state, -2, "string");
    push_table_library(state);
    push_read_only(state, "table");
    lua_setfield(state, -2, "table");
    push_math_library(state);
    push_read_only(state, "math");
    lua_setfield(state, -2, "math");
    push_shell_library(state);
    push_read_only(state, "shell");
    lua_setfield(state, -2, "shell");
    self->globals_ = luaL_ref(state, LUA_REGISTRYINDEX);
  });
  if (!ready) return ready.error();
  return machine;
}

lua_machine::~lua_machine() {
  if (state_ != nullptr) lua_close(state_);
}

void lua_machine::push_environment() {
  lua_newtable(state_);
  lua_createtable(state_, 0, 3);
  lua_rawgeti(state_, LUA_REGISTRYINDEX, globals_);
  lua_setfield(state_, -2, "__index");
  lua_pushliteral(state_, "a global");
  lua_pushcclosure(state_, refuse_write, 1);
  lua_setfield(state_, -2, "__newindex");
  lua_pushboolean(state_, 0);
  lua_setfield(state_, -2, "__metatable");
  lua_setmetatable(state_, -2);
}

void lua_machine::define_global(const char* name) {
  lua_rawgeti(state_, LUA_REGISTRYINDEX, globals_);
  lua_insert(state_, -2);
  lua_setfield(state_, -2, name);
  lua_pop(state_, 1);
}

result<void> lua_machine::failure(int status) {
  std::string text = status == LUA_ERRMEM ? "out of memory" : printable(state_, -1);
  lua_pop(state_, 1);
  errc code = errc::invalid_argument;
  std::string reason = "policy_error";
  std::string action = "correct the policy; `caged policy test` runs its tests";
  if (status == LUA_ERRMEM || meter_.tripped() != exhausted::unset) {
    code = errc::limit_exceeded;
    reason = "policy_budget";
    const auto what = meter_.tripped() == exhausted::unset ? exhausted::memory : meter_.tripped();
    text = "the policy spent its " + std::string(to_string(what)) + " (" + text + ")";
    action = "make the policy cheaper: it must decide within its budgets";
    lua_gc(state_, LUA_GCCOLLECT);
  }
  return fail(code, std::move(reason), std::move(text), std::move(action));
}

result<void> lua_machine::call(int arguments, int results, const script_budget& budget) {
  meter_.arm(budget);
  lua_sethook(state_, &script_meter::hook, LUA_MASKCOUNT, hook_interval);
  const int status = lua_pcall(state_, arguments, results, 0);
  meter_.disarm();
  if (status == LUA_OK) {
    if (meter_.tripped() == exhausted::unset) return {};
    // Memory ran out once and a collection saved the script; it stays within its limit, so its answer counts.
    return {};
  }
  return failure(status);
}

result<void> lua_machine::guarded(const script_budget& budget, const std::function<void(lua_State*)>& work) {
  if (!lua_checkstack(state_, 32)) return fail(errc::limit_exceeded, "policy_memory", "no stack left for policies");
  lua_pushcfunction(state_, run_native);  // a light C function: allocates nothing
  lua_pushlightuserdata(state_, const_cast<std::function<void(lua_State*)>*>(&work));
  return call(1, 0, budget);
}

result<void> lua_machine::load_text(std::string_view text, const std::string& chunk_name, int environment) {
  environment = lua_absindex(state_, environment);
  const int status = luaL_loadbufferx(state_, text.data(), text.size(), chunk_name.c_str(), "t");
  if (status != LUA_OK) return failure(status);
  lua_pushvalue(state_, environment);
  if (lua_setupvalue(state_, -2, 1) == nullptr) lua_pop(state_, 1);
  return {};
}

void push_read_only(lua_State* state, const char* what) {
  lua_newtable(state);
  lua_createtable(state, 0, 5);
  lua_pushvalue(state, -3);
  lua_setfield(state, -2, "__index");
  lua_pushstring(state, what);
  lua_pushcclosure(state, refuse_write, 1);
  lua_setfield(state, -2, "__newindex");
  lua_pushvalue(state, -3);
  lua_pushcclosure(state, view_pairs, 1);
  lua_setfield(state, -2, "__pairs");
  lua_pushvalue(state, -3);
  lua_pushcclosure(state, view_length, 1);
  lua_setfield(state, -2, "__len");
  lua_pushboolean(state, 0);
  lua_setfield(state, -2, "__metatable");
  lua_setmetatable(state, -2);
  lua_remove(state, -2);
}

void freeze_deep(lua_State* state, const char* what) {
  luaL_checkstack(state, 8, "too deep");
  lua_pushnil(state);
  while (lua_next(state, -2) != 0) {
    if (lua_type(state, -1) == LUA_TTABLE) {
      freeze_deep(state, what);
      lua_pushvalue(state, -2);
      lua_insert(state, -2);
      lua_rawset(state, -4);
    } else {
      lua_pop(state, 1);
    }
  }
  push_read_only(state, what);
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (const char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 32 && byte < 127) {
      out += c;
    } else if (c == '\n' || c == '\t') {
      out += ' ';
    } else {
      out += '?';
    }
  }
  if (text.size() > limit) out += "…";
  return out;
}

std::string printable(lua_State* state, int index) {
  switch (lua_type(state, index)) {
    case LUA_TSTRING: {
      std::size_t size = 0;
      const char* text = lua_tolstring(state, index, &size);
      return printable({text, size});
    }
    case LUA_TNUMBER:
      return lua_isinteger(state, index) ? std::to_string(lua_tointeger(state, index))
                                         : std::to_string(lua_tonumber(state, index));
    case LUA_TBOOLEAN:
      return lua_toboolean(state, index) ? "true" : "false";
    default:
      return std::string("a ") + luaL_typename(state, index) + " value";
  }
}

}  // namespace caged::policy
