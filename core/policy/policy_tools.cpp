#include <core/policy/policy_tools.hpp>

#include <core/policy/event_catalogue.hpp>
#include <core/policy/policy_set.hpp>
#include <fstream>

namespace caged::policy {
namespace {

namespace fs = std::filesystem;

json error_json(const error& e) {
  json out = {{"reason", e.reason}, {"message", e.message}, {"action", e.action}};
  if (!e.path.empty()) out["path"] = e.path;
  return out;
}

json info_json(const policy_info& info) {
  json out = {{"name", info.name},
              {"version", info.version},
              {"description", info.description},
              {"file", info.file.string()},
              {"gates", info.gates},
              {"facts", info.facts},
              {"args_schema", info.args_schema},
              {"args", info.args},
              {"on_error", info.fails_open ? "allow" : "deny"}};
  if (info.label != info.name) out["label"] = info.label;
  return out;
}

constexpr std::string_view policy_text = R"(-- What this policy is for, in one sentence.
return {
  name = "@NAME@",
  version = "1.0.0",
  requires_schema = 1,
  description = "Refuses commands that name a forbidden program",
  args = {
    type = "object",
    additionalProperties = false,
    properties = {
      forbidden = { type = "array", items = { type = "string" }, default = { "telnet" } },
    },
  },
  -- Asked before something happens; answer nil or allow() to let it pass.
  gate = {
    command = function(event, ctx)
      for _, name in ipairs(ctx.args.forbidden) do
        for _, word in ipairs(event.argv or {}) do
          if word == name then
            return deny(name .. " is not allowed here", { rule = "forbidden_program", advice = "use ssh" })
          end
        end
      end
    end,
  },
  -- Told after something has happened; may deduct(), annotate(), pause() or kill().
  on = {
    error = function(event, ctx)
      ctx.state.errors = (ctx.state.errors or 0) + 1
      if ctx.state.errors == 100 then return annotate("a hundred errors in one session") end
    end,
  },
}
)";

constexpr std::string_view test_text = R"(test("a forbidden program is refused", function(t)
  local s = t.session { policy = "@NAME@", args = { forbidden = { "telnet" } } }
  t.kind(s.gate("command", { argv = { "telnet", "example.org" } }), "deny")
  t.kind(s.gate("command", { argv = { "ls" } }), "allow")
end)

test("errors are counted per session", function(t)
  local s = t.session { policy = "@NAME@" }
  for _ = 1, 99 do t.kind(s.fact("error", { message = "x" }), "allow") end
  t.kind(s.fact("error", { message = "x" }), "annotate")
end)
)";

std::string with_name(std::string_view text, const std::string& name) {
  std::string out(text);
  for (auto at = out.find("@NAME@"); at != std::string::npos; at = out.find("@NAME@")) out.replace(at, 6, name);
  return out;
}

}  // namespace

json list_policies(const std::vector<fs::path>& roots) {
  json out = json::array();
  for (const auto& root : roots) {
    std::error_code ec;
    std::vector<fs::path> files;
    for (fs::recursive_directory_iterator it(root, ec), end; !ec && it != end; it.increment(ec)) {
      if (it.depth() == 0 && it->path().filename() == "lib") it.disable_recursion_pending();
      const auto stem = it->path().stem().string();
      if (it->path().extension() == ".lua" && !stem.ends_with("_test") && it->is_regular_file(ec))
        files.push_back(it->path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      auto engine = policy_engine::load({{root}, {{file.string(), json::object(), ""}}, {}, 1});
      if (engine) {
        out.push_back(info_json((*engine)->policies().front()));
      } else {
        out.push_back(
            {{"name", file.stem().string()}, {"file", file.string()}, {"problem", error_json(engine.error())}});
      }
    }
  }
  return out;
}

json check_policies(const engine_options& options) {
  auto engine = policy_engine::load(options);
  if (!engine) return {{"ok", false}, {"policies", json::array()}, {"error", error_json(engine.error())}};
  json list = json::array();
  for (const auto& info : (*engine)->policies()) list.push_back(info_json(info));
  return {{"ok", true}, {"policies", std::move(list)}};
}

result<json> explain_event(const engine_options& options, const event& e, const json& session, explain_as how) {
  const event_type* gate = find_gate(e.type);
  const event_type* fact = find_fact(e.type);
  const bool as_gate = how == explain_as::gate || (how == explain_as::unset && fact == nullptr);
  const event_type* type = as_gate ? gate : fact;
  if (type == nullptr) {
    return fail(errc::invalid_argument, "unknown_event", "'" + e.type + "' is no " + (as_gate ? "gate" : "fact"),
                "see the event catalogue in policies/README.md", "/type");
  }
  auto fits = check_event_data(*type, e.data);
  if (!fits) return fits.error();
  auto set = policy_set::load(options);
  if (!set) return set.error();
  std::vector<handler_trace> traces;
  const verdict v = (*set)->evaluate(as_gate ? stage::gate : stage::fact, e, session, &traces);
  json handlers = json::array();
  for (const auto& t : traces) {
    handlers.push_back({{"policy", t.policy},
                        {"verdict", t.answer.to_json()},
                        {"instructions", t.work},
                        {"allocated_bytes", t.allocated},
                        {"microseconds", static_cast<double>(t.time.count()) / 1000.0}});
  }
  return json{{"event", {{"type", e.type}, {"data", e.data}}},
              {"stage", as_gate ? "gate" : "fact"},
              {"verdict", v.to_json()},
              {"handlers", std::move(handlers)}};
}

result<json> new_policy(const fs::path& root, const std::string& name) {
  if (name.empty() || name.size() > 48 ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") != std::string::npos || name == "lib") {
    return fail(errc::invalid_argument, "invalid_policy_name", "'" + printable(name, 64) + "' is no name for a policy",
                "use lower-case letters, digits, '-' and '_'");
  }
  const fs::path folder = root / name;
  std::error_code ec;
  if (fs::exists(folder, ec)) {
    return fail(errc::conflict, "policy_exists", folder.string() + " is already there", "choose another name");
  }
  fs::create_directories(folder, ec);
  if (ec) return errno_error(ec.value(), "create " + folder.string());
  json files = json::array();
  for (const auto& [suffix, text] : {std::pair{".lua", policy_text}, std::pair{"_test.lua", test_text}}) {
    const fs::path file = folder / (name + suffix);
    std::ofstream out(file);
    out << with_name(text, name);
    out.close();
    if (!out)
      return fail(errc::unavailable, "policy_unwritable", file.string() + " cannot be written", "check the folder");
    fs::permissions(file, fs::perms::others_write, fs::perm_options::remove, ec);
    files.push_back(file.string());
  }
  return json{{"files", std::move(files)}};
}

result<event> event_from_json(const json& value) {
  const auto bad = [](const char* path, std::string found) {
    return fail(errc::invalid_argument, "invalid_event",
                "an event's " + std::string(path + 1) + " is " + std::move(found),
                "an event is {type, data, session_id?, sandbox_id?, id?, sequence?, time_us?}", path);
  };
  if (!value.is_object()) return bad("/event", "no object");
  event e;
  const auto text = [&](const char* key, std::string& out) {
    const auto found = value.find(key);
    if (found != value.end() && !found->is_string()) return false;
    if (found != value.end()) out = found->get<std::string>();
    return true;
  };
  if (!text("type", e.type) || e.type.empty()) return bad("/type", "missing or no text");
  if (!text("session_id", e.session_id)) return bad("/session_id", "no text");
  if (!text("sandbox_id", e.sandbox_id)) return bad("/sandbox_id", "no text");
  for (const char* key : {"id", "sequence", "time_us", "duration_us"}) {
    const auto found = value.find(key);
    if (found != value.end() && !found->is_number_integer()) return bad((std::string("/") + key).c_str(), "no integer");
  }
  e.id = value.value("id", std::uint64_t{0});
  e.sequence = value.value("sequence", std::uint64_t{0});
  e.time_us = value.value("time_us", std::int64_t{0});
  e.duration_us = value.value("duration_us", std::int64_t{0});
  e.data = value.value("data", json::object());
  if (!e.data.is_object()) return bad("/data", "no object");
  return e;
}

}  // namespace caged::policy
