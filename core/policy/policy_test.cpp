// Runs x_test.lua files: their own interpreter, with sessions of real policies to put events to.
#include <core/policy/event_catalogue.hpp>
#include <core/policy/lua_json.hpp>
#include <core/policy/policy_set.hpp>
#include <core/policy/policy_tools.hpp>
#include <core/policy/trust_score.hpp>

namespace caged::policy {
namespace {

namespace fs = std::filesystem;

const script_budget test_budget{200'000'000, 1u << 30, std::chrono::seconds(20)};

// What test files see beside test(): checks written in Lua, over the verdicts as tables.
constexpr std::string_view prelude = R"(
local t = {}
local function show(v)
  if type(v) ~= "table" then return tostring(v) end
  local parts = { tostring(v.kind) }
  if v.reason then parts[#parts + 1] = v.reason end
  for _, d in ipairs(v.deductions or {}) do parts[#parts + 1] = "-" .. d.points .. " " .. d.rule .. ": " .. d.reason end
  for _, f in ipairs(v.failures or {}) do parts[#parts + 1] = "FAILED " .. f.policy .. ": " .. f.message end
  return table.concat(parts, "; ")
end
t.show = show
function t.fail(message) error(message, 0) end
function t.ok(value, message) if not value then t.fail(message or "expected something true") end end
function t.equal(found, expected, what)
  if found ~= expected then t.fail((what or "value") .. ": found " .. tostring(found) .. ", expected " .. tostring(expected)) end
end
function t.no_failure(v) if v.failures then t.fail("a policy failed: " .. show(v)) end end
function t.kind(v, kind)
  t.no_failure(v)
  if v.kind ~= kind then t.fail("expected " .. kind .. ", found " .. show(v)) end
end
function t.rule(v, rule) if v.rule ~= rule then t.fail("expected rule " .. rule .. ", found " .. tostring(v.rule) .. " in " .. show(v)) end end
function t.clean(v)
  t.no_failure(v)
  if v.deductions or (v.kind ~= "allow" and v.kind ~= "annotate") then t.fail("expected nothing, found " .. show(v)) end
end
function t.deducted(v, rule, points)
  t.no_failure(v)
  for _, d in ipairs(v.deductions or {}) do
    if d.rule == rule and (points == nil or d.points == points) then
      if not d.advice then t.fail("the deduction " .. rule .. " has no advice") end
      return d
    end
  end
  t.fail("expected -" .. tostring(points or "?") .. " " .. rule .. ", found " .. show(v))
end
return t
)";

struct test_session {
  std::unique_ptr<policy_set> set;
  trust_score score;
  json context = json::object();
  std::string id = "sess-test";
  double clock = 1'700'000'000;
  std::uint64_t events = 0;
};

struct test_run {
  std::vector<fs::path> roots;
  fs::path file;
  std::string filter;
  json tests = json::array();
  std::vector<std::unique_ptr<test_session>> sessions;
  lua_machine* machine = nullptr;
  std::size_t passed = 0, failed = 0;
};

test_run& run_of(lua_State* state) { return *static_cast<test_run*>(lua_touserdata(state, lua_upvalueindex(1))); }

json argument(lua_State* state, int index, const char* what) {
  if (lua_isnoneornil(state, index)) return json::object();
  auto value = to_json(state, index, {32, 4u << 20});
  if (!value) luaL_error(state, "%s: %s", what, value.error().message.c_str());
  return std::move(*value);
}

// gate(type, data [, {time=, context=}]) and fact(…); upvalues: run, session number, stage.
int put_event(lua_State* state) {
  test_run& run = run_of(state);
  auto& session = *run.sessions.at(static_cast<std::size_t>(lua_tointeger(state, lua_upvalueindex(2))));
  const bool gate = lua_toboolean(state, lua_upvalueindex(3)) != 0;
  const std::string type = luaL_checkstring(state, 1);
  event e;
  e.type = type;
  e.data = argument(state, 2, "event data");
  const json options = argument(state, 3, "event options");
  const event_type* known = gate ? find_gate(type) : find_fact(type);
  if (known == nullptr)
    return luaL_error(state, "'%s' is no %s of the catalogue", type.c_str(), gate ? "gate" : "fact");
  for (const auto& field : known->fields) {  // {} in Lua is an empty list as well
    const auto found = e.data.find(field.name);
    if (field.type == "array" && found != e.data.end() && found->is_object() && found->empty()) *found = json::array();
  }
  auto fits = check_event_data(*known, e.data);
  if (!fits) return luaL_error(state, "%s", fits.error().message.c_str());
  session.clock += 1;
  if (options.contains("after") && options["after"].is_number()) session.clock += options["after"].get<double>();
  e.id = e.sequence = ++session.events;
  e.session_id = session.id;
  e.sandbox_id = "cage-test";
  e.time_us = static_cast<std::int64_t>(session.clock * 1e6);
  session.context["score"] = session.score.score();
  const verdict v = session.set->evaluate(gate ? stage::gate : stage::fact, e, session.context);
  session.score.apply(v, e);
  lua_settop(state, 0);
  push_json(state, v.to_json());
  return 1;
}

int session_score(lua_State* state) {
  test_run& run = run_of(state);
  lua_pushinteger(state,
                  run.sessions.at(static_cast<std::size_t>(lua_tointeger(state, lua_upvalueindex(2))))->score.score());
  return 1;
}

// Parks and restores the state, as a restart of the host does.
int restart(lua_State* state) {
  test_run& run = run_of(state);
  auto& session = *run.sessions.at(static_cast<std::size_t>(lua_tointeger(state, lua_upvalueindex(2))));
  const json saved = session.set->session_state(session.id);
  session.set->forget(session.id);
  session.set->restore_state(session.id, saved);
  return 0;
}

void push_method(lua_State* state, test_run& run, std::size_t index, const char* name, lua_CFunction function,
                 bool gate) {
  lua_pushlightuserdata(state, &run);
  lua_pushinteger(state, static_cast<lua_Integer>(index));
  lua_pushboolean(state, gate);
  lua_pushcclosure(state, function, 3);
  lua_setfield(state, -2, name);
}

// t.session { policy = "name", args = {}, session = {} }: `policy` defaults to the file beside the test.
int make_session(lua_State* state) {
  test_run& run = run_of(state);
  const json options = argument(state, 1, "session options");
  std::string name = options.value("policy", "");
  auto stem = run.file.stem().string();
  if (name.empty()) name = (run.file.parent_path() / (stem.substr(0, stem.size() - 5) + ".lua")).string();
  engine_options engine;
  engine.roots = run.roots;
  engine.policies.push_back({name, options.value("args", json::object()), ""});
  engine.limits.instructions = options.value("instructions", engine.limits.instructions);
  auto set = policy_set::load(engine);
  if (!set) return luaL_error(state, "%s", describe(set.error()).c_str());
  auto session = std::make_unique<test_session>();
  session->set = std::move(*set);
  session->context = options.value("session", json::object());
  session->context["id"] = session->id;
  const std::size_t index = run.sessions.size();
  run.sessions.push_back(std::move(session));
  lua_createtable(state, 0, 4);
  push_method(state, run, index, "gate", put_event, true);
  push_method(state, run, index, "fact", put_event, false);
  push_method(state, run, index, "score", session_score, false);
  push_method(state, run, index, "restart", restart, false);
  return 1;
}

// Upvalues: run, the t table.
int add_test(lua_State* state) {
  test_run& run = run_of(state);
  const std::string name = luaL_checkstring(state, 1);
  luaL_checktype(state, 2, LUA_TFUNCTION);
  if (!run.filter.empty() && name.find(run.filter) == std::string::npos) return 0;
  const auto begin = std::chrono::steady_clock::now();
  lua_pushvalue(state, 2);
  lua_pushvalue(state, lua_upvalueindex(2));
  const int status = lua_pcall(state, 1, 0, 0);
  const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  json entry = {{"name", name}, {"passed", status == LUA_OK}, {"milliseconds", took}};
  if (status != LUA_OK) entry["message"] = printable(state, -1);
  run.tests.push_back(std::move(entry));
  ++(status == LUA_OK ? run.passed : run.failed);
  run.sessions.clear();
  return 0;
}

// The module under test, for tests of lib files: lib("command").
int load_library(lua_State* state) {
  test_run& run = run_of(state);
  const std::string name = luaL_checkstring(state, 1);
  for (const auto& root : run.roots) {
    const fs::path path = root / "lib" / (name + ".lua");
    std::error_code ec;
    if (name.find('/') != std::string::npos || !fs::is_regular_file(path, ec)) continue;
    auto text = read_source(path);
    if (!text) return luaL_error(state, "%s", text.error().message.c_str());
    run.machine->push_environment();
    lua_pushliteral(state, "require");
    lua_pushvalue(state, lua_upvalueindex(1));
    lua_pushcclosure(
        state,
        [](lua_State* inner) {
          std::string wanted = luaL_checkstring(inner, 1);
          if (!wanted.starts_with("lib.")) return luaL_error(inner, "require: only lib.<name>");
          lua_pushvalue(inner, lua_upvalueindex(1));
          lua_pushcclosure(inner, load_library, 1);
          lua_pushstring(inner, wanted.c_str() + 4);
          lua_call(inner, 1, 1);
          return 1;
        },
        1);
    lua_rawset(state, -3);
    auto loaded = run.machine->load_text(*text, "@lib/" + name + ".lua", -1);
    if (!loaded) return luaL_error(state, "%s", loaded.error().message.c_str());
    lua_call(state, 0, 1);
    return 1;
  }
  return luaL_error(state, "there is no lib/%s.lua", name.c_str());
}

result<void> run_file(test_run& run) {
  auto text = read_source(run.file);
  if (!text) return text.error();
  auto machine = lua_machine::make(256u << 20);
  if (!machine) return machine.error();
  run.machine = machine->get();
  return (*machine)->guarded(test_budget, [&](lua_State* state) {
    run.machine->push_environment();
    const int environment = lua_gettop(state);
    auto loaded = run.machine->load_text(prelude, "=prelude", environment);
    if (!loaded) luaL_error(state, "%s", loaded.error().message.c_str());
    lua_call(state, 0, 1);
    const int t = lua_gettop(state);
    lua_pushlightuserdata(state, &run);
    lua_pushcclosure(state, make_session, 1);
    lua_setfield(state, t, "session");
    const auto set = [&](const char* name, lua_CFunction function) {
      lua_pushstring(state, name);
      lua_pushlightuserdata(state, &run);
      lua_pushvalue(state, t);
      lua_pushcclosure(state, function, 2);
      lua_rawset(state, environment);
    };
    set("test", add_test);
    set("lib", load_library);
    loaded = run.machine->load_text(*text, "@" + run.file.filename().string(), environment);
    if (!loaded) luaL_error(state, "%s", loaded.error().message.c_str());
    lua_call(state, 0, 0);
  });
}

std::vector<fs::path> find_tests(const std::vector<fs::path>& roots) {
  std::vector<fs::path> files;
  for (const auto& root : roots) {
    std::error_code ec;
    for (fs::recursive_directory_iterator it(root, ec), end; !ec && it != end; it.increment(ec)) {
      if (it->path().filename().string().ends_with("_test.lua")) files.push_back(it->path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

json run_policy_tests(const std::vector<fs::path>& roots, std::vector<fs::path> files, std::string_view filter) {
  if (files.empty()) files = find_tests(roots);
  std::size_t passed = 0, failed = 0;
  json list = json::array();
  for (const auto& file : files) {
    test_run run;
    run.roots = roots;
    run.file = file;
    run.filter = std::string(filter);
    json entry = {{"file", file.string()}};
    auto done = file.stem().string().ends_with("_test")
                    ? run_file(run)
                    : result<void>(fail(errc::invalid_argument, "invalid_test", file.string() + " is no test file",
                                        "a test file is called <policy>_test.lua"));
    if (!done) {
      entry["error"] = describe(done.error());
      ++failed;
    } else if (run.tests.empty() && filter.empty()) {
      entry["error"] = "the file has no tests; call test(name, function(t) … end)";
      ++failed;
    }
    passed += run.passed;
    failed += run.failed;
    entry["tests"] = std::move(run.tests);
    list.push_back(std::move(entry));
  }
  return {{"passed", passed}, {"failed", failed}, {"files", std::move(list)}};
}

}  // namespace caged::policy
