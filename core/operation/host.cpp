// The host's own operations: keys, tickets, what it can do, what is loaded.
#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<reply> list_keys(services* s, call) {
  json rows = json::array();
  for (const auto& k : s->keys->list()) rows.push_back(to_api(k));
  co_return answer(std::move(rows));
}

task<reply> create_key(services* s, call c) {
  auto granted = parse_scope(c.arguments.value("scope", "sandbox"));
  if (!granted) co_return granted.error();
  std::int64_t expires = 0;
  if (c.arguments.contains("expires_in"))
    expires = base::now_us() + c.arguments["expires_in"].get<std::int64_t>() * 1'000'000;
  auto made = co_await s->keys->create(c.arguments["name"].get<std::string>(), *granted, expires);
  if (!made) co_return made.error();
  co_return answer({{"key", made->first}, {"info", to_api(made->second)}});
}

task<reply> revoke_key(services* s, call c) {
  auto done = co_await s->keys->revoke(c.arguments["key_id"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> account(services* s, call c) {
  const key_info* k = s->keys->find(c.who.key_id);
  json body{{"id", "local"},         {"email", nullptr},       {"name", c.who.name},
            {"tier", "self-hosted"}, {"email_verified", true}, {"scope", to_string(c.who.granted)},
            {"key_id", c.who.key_id}};
  body["created_at"] = k ? json(base::format_time(k->created_us)) : json(nullptr);
  co_return answer(std::move(body));
}

task<reply> ticket(services* s, call c) {
  const auto t = s->keys->issue(c.who);
  co_return answer({{"ticket", t.secret},
                    {"expires_in", auth::ticket_life.count()},
                    {"expires_at", base::format_time(t.expires_us)}});
}

json range_json(const config::amount_range& r) { return {{"min", r.min}, {"max", r.max}, {"default", r.fallback}}; }

task<reply> capabilities(services* s, call) {
  const auto& host = s->sandboxes->config();
  json limits{{"cpus", range_json(host.limits.cpus)},       {"memory_mb", range_json(host.limits.memory_mb)},
              {"disk_gb", range_json(host.limits.disk_gb)}, {"timeout", range_json(host.limits.timeout)},
              {"sandboxes", host.limits.sandboxes},         {"max_processes", host.limits.max_processes}};
  co_return answer({{"version", s->version},
                    {"limits", limits},
                    {"templates", s->sandboxes->images()},
                    {"network_modes", {"full", "allowlist", "learn", "none"}},
                    {"backends", s->sandboxes->backend_names()},
                    {"default_template", host.default_template}});
}

task<reply> doctor(services* s, call) {
  json rows = json::array();
  for (const auto& name : s->sandboxes->backend_names()) {
    sandbox::record any;
    any.backend = name;
    auto backend = s->sandboxes->backend_of(any);
    auto probes = co_await (*backend)->probe_machine();
    if (!probes) co_return probes.error();
    json walls = json::array();
    for (const auto& p : *probes)
      walls.push_back({{"name", p.name},
                       {"needs", p.needs},
                       {"available", p.available},
                       {"required", p.required},
                       {"found", p.found},
                       {"remedy", p.remedy}});
    rows.push_back({{"name", name}, {"probes", std::move(walls)}});
  }
  co_return answer({{"backends", std::move(rows)}});
}

task<reply> plugins(services* s, call) { co_return answer(s->plugins()); }

task<reply> plugin_schema(services* s, call c) {
  auto found = s->plugin_schema(c.arguments["name"].get<std::string>());
  if (!found) co_return found.error();
  co_return answer(std::move(*found));
}

}  // namespace

void add_host_operations(services& s) {
  const json none = schema::input({}), object{{"type", "object"}};
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };

  auto info = declare("key.list", "GET", "/v1/account/keys", scope::full,
                      "List keys; secrets are not kept and not shown", none, list(object));
  info.read_only = true;
  own(std::move(info), "", list_keys);
  info = declare(
      "key.create", "POST", "/v1/account/keys", scope::full, "Make a key; its secret is shown once",
      schema::input(
          {{"name", {{"type", "string"}, {"description", "A name for people."}, {"minLength", 1}, {"maxLength", 100}}},
           {"scope", one_of("What it may do; sandbox by default.", {"full", "sandbox", "read", "read_only"})},
           {"expires_in", integer("Seconds until it ends.", 1, 315360000)}},
          {"name"}),
      schema::output({{"key", text("The secret.")}, {"info", object}}));
  info.success = 201;
  own(std::move(info), "lifecycle", create_key);
  info = declare("key.revoke", "DELETE", "/v1/account/keys/{key_id}", scope::full, "End a key",
                 schema::input({{"key_id", text("Id of the key.")}}, {"key_id"}), nothing());
  info.success = 204;
  info.destructive = true;
  own(std::move(info), "lifecycle", revoke_key);
  own(declare("account.get", "GET", "/v1/account", scope::read, "Show whose the key is and what it may do", none,
              object),
      "", account);
  info = declare("auth.ticket", "POST", "/v1/auth/socket-ticket", scope::read,
                 "A single-use ticket for a WebSocket handshake", none, object);
  info.description =
      "Good once, for 60 seconds, with the rights of the key that asked. Browsers cannot set headers on a WebSocket; a "
      "ticket in the URL is worth nothing in a log.";
  own(std::move(info), "", ticket);
  own(declare("host.capabilities", "GET", "/v1/capabilities", scope::read,
              "Show limits, templates, network modes and backends of the server", none, object),
      "", capabilities);
  own(declare("host.doctor", "GET", "/v1/doctor", scope::read,
              "Say which walls this machine can give, and how to get what is missing", none, object),
      "", doctor);
  own(declare("plugin.list", "GET", "/v1/plugins", scope::read, "List plugins: where from, what they offer and need",
              none, list(object)),
      "", plugins);
  own(declare("plugin.schema", "GET", "/v1/plugins/{name}/schema", scope::read,
              "Show the JSON Schema of a plugin's configuration",
              schema::input({{"name", text("As in vmm.jail.")}}, {"name"}), object),
      "", plugin_schema);
}

}  // namespace caged::operation
