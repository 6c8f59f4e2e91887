// Reading one policy file: its text, its table, its arguments.
#include <caged/json_schema.hpp>
#include <core/policy/event_catalogue.hpp>
#include <core/policy/lua_json.hpp>
#include <core/policy/policy_set.hpp>
#include <fstream>
#include <iterator>

namespace caged::policy {
namespace {

constexpr std::uintmax_t max_source = 1u << 20;
const script_budget load_budget{10'000'000, 64u << 20, std::chrono::seconds(2)};

error in_file(const std::filesystem::path& file, error e) {
  e.message = file.string() + ": " + e.message;
  return e;
}

error bad_policy(const std::filesystem::path& file, std::string message, std::string action) {
  return fail(errc::invalid_argument, "invalid_policy", file.string() + ": " + std::move(message), std::move(action));
}

// An empty Lua table says nothing about being a list; in a schema the type beside it does.
void settle_empty_defaults(json& schema) {
  if (!schema.is_structured()) return;
  if (schema.is_object() && schema.value("type", json()) == json("array")) {
    const auto value = schema.find("default");
    if (value != schema.end() && value->is_object() && value->empty()) *value = json::array();
  }
  for (auto& part : schema) settle_empty_defaults(part);
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-/") == std::string_view::npos;
}

}  // namespace

result<std::string> read_source(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const auto status = fs::status(path, ec);
  if (ec || !fs::exists(status)) {
    return fail(errc::not_found, "policy_not_found", "there is no file " + path.string(),
                "check the name and the policy folders");
  }
  if (!fs::is_regular_file(status)) {
    return fail(errc::invalid_argument, "invalid_policy", path.string() + " is no regular file", "name a Lua file");
  }
  if ((status.permissions() & fs::perms::others_write) != fs::perms::none) {
    return fail(errc::permission_denied, "policy_writable", path.string() + " may be written by everybody",
                "chmod o-w " + path.string());
  }
  if (fs::file_size(path, ec) > max_source || ec) {
    return fail(errc::too_large, "invalid_policy", path.string() + " is larger than 1 MiB", "split the policy");
  }
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in)
    return fail(errc::unavailable, "policy_unreadable", path.string() + " cannot be read", "check its permissions");
  return text;
}

result<std::filesystem::path> find_policy(const std::vector<std::filesystem::path>& roots, const std::string& name) {
  namespace fs = std::filesystem;
  if (name.ends_with(".lua")) return fs::path(name);
  if (!valid_name(name)) {
    return fail(errc::invalid_argument, "invalid_policy_name", "'" + printable(name, 64) + "' is no policy name",
                "use a name like \"trust\" or \"network/private\", or a path that ends in .lua");
  }
  std::string tried;
  for (const auto& root : roots) {
    const auto slash = name.find('/');
    const fs::path file = slash == std::string::npos ? root / name / (name + ".lua") : root / (name + ".lua");
    std::error_code ec;
    if (fs::is_regular_file(file, ec)) return file;
    tried += (tried.empty() ? "" : ", ") + file.string();
  }
  return fail(errc::not_found, "policy_not_found", "there is no policy '" + name + "' (looked for " + tried + ")",
              "`caged policy list` shows what there is");
}

result<void> policy_set::add(const policy_choice& choice) {
  auto path = find_policy(options_.roots, choice.name);
  if (!path) return path.error();
  auto text = read_source(*path);
  if (!text) return text.error();
  std::error_code ec;
  files_.push_back({*path, std::filesystem::last_write_time(*path, ec), text->size()});

  lua_State* state = machine_->raw();
  const int top = lua_gettop(state);
  policy p;
  p.info.file = *path;
  auto done = machine_->guarded(load_budget, [&](lua_State* inner) {
    machine_->push_environment();
    const int environment = lua_gettop(inner);
    push_require();
    lua_pushliteral(inner, "require");
    lua_insert(inner, -2);
    lua_rawset(inner, environment);
    auto loaded = machine_->load_text(*text, "@" + path->filename().string(), environment);
    if (!loaded) luaL_error(inner, "%s", loaded.error().message.c_str());
    lua_call(inner, 0, 1);
    lua_rawsetp(inner, LUA_REGISTRYINDEX, this);  // hands the table out of the protected call
  });
  if (!done) return in_file(*path, done.error());
  result<void> read;
  done = machine_->guarded(load_budget, [&](lua_State* inner) {
    lua_rawgetp(inner, LUA_REGISTRYINDEX, this);
    read = read_table(choice, p);
  });
  lua_settop(state, top);
  if (!done) return in_file(*path, done.error());
  if (!read) return read.error();
  policies_.push_back(std::move(p));
  return {};
}

result<std::string> policy_set::text_field(const char* field, const policy& p) {
  lua_State* state = machine_->raw();
  lua_getfield(state, -1, field);
  std::string out;
  const int type = lua_type(state, -1);
  if (type == LUA_TSTRING) out = printable(state, -1);
  lua_pop(state, 1);
  if (type != LUA_TSTRING && type != LUA_TNIL) {
    return bad_policy(p.info.file, std::string("'") + field + "' is a " + lua_typename(state, type) + "; expected text",
                      "see policies/README.md for the fields of a policy");
  }
  return out;
}

// The policy's table is on the stack's top.
result<void> policy_set::read_table(const policy_choice& choice, policy& p) {
  lua_State* state = machine_->raw();
  if (lua_type(state, -1) != LUA_TTABLE) {
    return bad_policy(p.info.file, std::string("returns a ") + luaL_typename(state, -1) + "; expected a table",
                      "end the file with `return { name = …, version = …, requires_schema = 1, on = { … } }`");
  }
  static const std::set<std::string, std::less<>> known = {"name", "version", "description", "requires_schema",
                                                           "args", "gate",    "on",          "on_error"};
  for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1)) {
    const std::string key = printable(state, -2);
    if (lua_type(state, -2) == LUA_TSTRING && known.contains(key)) continue;
    const auto near = nearest(key, {known.begin(), known.end()});
    return bad_policy(p.info.file, "has the unknown field '" + key + "'",
                      near.empty() ? "remove it" : "did you mean '" + near + "'?");
  }
  for (const auto& [field, target] : {std::pair{"name", &p.info.name}, std::pair{"version", &p.info.version},
                                      std::pair{"description", &p.info.description}}) {
    auto text = text_field(field, p);
    if (!text) return text.error();
    *target = std::move(*text);
  }
  if (!valid_name(p.info.name) || p.info.version.empty()) {
    return bad_policy(p.info.file, "has no name or no version",
                      "give it name = \"lower-case\" and version = \"1.0.0\"");
  }
  p.info.label = choice.label.empty() ? p.info.name : choice.label;
  lua_getfield(state, -1, "requires_schema");
  const bool fits = lua_isinteger(state, -1) && lua_tointeger(state, -1) == event_schema_number;
  const std::string found = printable(state, -1);
  lua_pop(state, 1);
  if (!fits) {
    return bad_policy(p.info.file,
                      "requires event schema " + found + "; this host has " + std::to_string(event_schema_number),
                      "set requires_schema = " + std::to_string(event_schema_number) +
                          " after checking the event catalogue in policies/README.md");
  }
  auto on_error = text_field("on_error", p);
  if (!on_error) return on_error.error();
  if (!on_error->empty() && *on_error != "allow" && *on_error != "deny") {
    return bad_policy(p.info.file, "on_error is '" + *on_error + "'", "use \"deny\" (the default) or \"allow\"");
  }
  p.info.fails_open = *on_error == "allow";
  auto args = read_args(choice, p);
  if (!args) return args;
  const std::size_t index = policies_.size();
  auto gates = read_handlers("gate", stage::gate, p, index, p.info.gates);
  if (!gates) return gates;
  auto facts = read_handlers("on", stage::fact, p, index, p.info.facts);
  if (!facts) return facts;
  if (p.info.gates.empty() && p.info.facts.empty()) {
    return bad_policy(p.info.file, "handles no event", "give it gate = { … } or on = { … }");
  }
  return {};
}

result<void> policy_set::read_args(const policy_choice& choice, policy& p) {
  lua_State* state = machine_->raw();
  lua_getfield(state, -1, "args");
  auto schema = lua_isnil(state, -1) ? result<json>(json{{"type", "object"}, {"additionalProperties", false}})
                                     : to_json(state, -1, {16, 256 * 1024});
  lua_pop(state, 1);
  if (!schema)
    return bad_policy(p.info.file, "args: " + schema.error().message, "args is a JSON Schema written as a table");
  settle_empty_defaults(*schema);
  auto compiled = json_schema::compile(*schema);
  if (!compiled) return in_file(p.info.file, compiled.error());
  p.info.args_schema = *schema;
  p.info.args = choice.args.is_null() ? json::object() : choice.args;
  apply_defaults(*schema, p.info.args);
  auto fits = compiled->check(p.info.args);
  if (!fits) {
    auto e = fits.error();
    e.message = "the arguments of policy '" + p.info.label + "' do not fit: " + e.message;
    return e;
  }
  push_json(state, p.info.args);
  freeze_deep(state, "ctx.args");
  p.args_ref = luaL_ref(state, LUA_REGISTRYINDEX);
  return {};
}

result<void> policy_set::read_handlers(const char* field, stage at, const policy& p, std::size_t index,
                                       std::vector<std::string>& names) {
  lua_State* state = machine_->raw();
  lua_getfield(state, -1, field);
  if (lua_isnil(state, -1)) {
    lua_pop(state, 1);
    return {};
  }
  if (lua_type(state, -1) != LUA_TTABLE)
    return bad_policy(p.info.file, std::string(field) + " is no table", "write name = function");
  for (lua_pushnil(state); lua_next(state, -2) != 0;) {
    const std::string type = printable(state, -2);
    const bool gate = at == stage::gate;
    if ((gate ? find_gate(type) : find_fact(type)) == nullptr) {
      if ((gate ? find_fact(type) : find_gate(type)) != nullptr) {
        return bad_policy(p.info.file,
                          "'" + type + "' is a " + (gate ? "fact" : "gate") + " and stands under `" + field + "`",
                          std::string("move it to `") + (gate ? "on" : "gate") + "`");
      }
      std::vector<std::string> candidates;
      for (const auto& known : event_types()) {
        if (known.gate == gate) candidates.emplace_back(known.name);
      }
      const auto near = nearest(type, candidates);
      return bad_policy(
          p.info.file, "`" + std::string(field) + "` names the unknown event '" + type + "'",
          near.empty() ? "see the event catalogue in policies/README.md" : "did you mean '" + near + "'?");
    }
    if (lua_type(state, -1) != LUA_TFUNCTION) {
      return bad_policy(p.info.file, "the handler of '" + type + "' is a " + luaL_typename(state, -1),
                        "make it a function");
    }
    names.push_back(type);
    (gate ? gates_ : facts_)[type].push_back({index, luaL_ref(state, LUA_REGISTRYINDEX)});
  }
  lua_pop(state, 1);
  std::sort(names.begin(), names.end());
  return {};
}

}  // namespace caged::policy
