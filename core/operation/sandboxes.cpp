#include <set>

#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/exec.hpp"
#include "core/sandbox/preview_gate.hpp"
#include "core/sandbox/vault.hpp"

namespace caged::operation {
namespace {

using namespace schema;

// A create that is still setting up after this long answers `pending`; progress is in the sandbox's events.
constexpr auto patience = std::chrono::milliseconds(800);
constexpr auto whole_setup = std::chrono::minutes(20);

json policies_schema() {
  const json named{{"type", "object"},
                   {"minProperties", 1},
                   {"maxProperties", 1},
                   {"additionalProperties", {{"type", {"object", "null"}}}}};
  json items = json::array({text("Name of a policy."), named});
  json s = list({{"anyOf", std::move(items)}}, "Policies beside the server's own: names, or {name: arguments}.");
  s["maxItems"] = 16;
  return s;
}

constexpr const char* host_forms =
    "Hosts it may reach: name, *.name (one label more), **.name (any depth), address or block; each with :port if "
    "wanted.";

json sandbox_schema() {
  return output({{"id", text("Id.")},
                 {"name", text("Name given, else the id.")},
                 {"status", one_of("State.", {"pending", "running", "paused", "stopped", "error", "destroyed"})},
                 {"template", text("Template it was made of.")},
                 {"backend", text("Backend that runs it.")},
                 {"cpus", number("Processors.")},
                 {"memory_mb", count("MiB of memory.")},
                 {"disk_gb", count("GiB of disk.")},
                 {"network_mode", text("full, allowlist, learn or none.")},
                 {"network_rate", count("Most bytes a second; 0: no limit.")},
                 {"network_bytes", count("Most bytes in all; 0: no limit.")},
                 {"allowlist", list(text("Host."))},
                 {"repo_url", text_or_null("Repository.")},
                 {"repo_branch", text_or_null("Branch.")},
                 {"repo_commit", text_or_null("Commit checked out.")},
                 {"repo_subdir", text_or_null("Part of it.")},
                 {"init_script", text_or_null("Script run after the clone.")},
                 {"packages", list(text("Package."), "Packages that must be there.")},
                 {"agents", list(text("Agent."), "Agents that must be there.")},
                 {"env", text_map("Environment.")},
                 {"metadata", text_map("Labels.")},
                 {"policies", policies_schema()},
                 {"timeout", count("Idle seconds until it is paused.")},
                 {"budget", {{"type", {"number", "null"}}, {"description", "US dollars."}}},
                 {"on_budget", text_or_null("At 100 % of it: destroy or pause.")},
                 {"held", text_or_null("budget: it is paused because a budget is spent.")},
                 {"created_at", text("RFC 3339.")},
                 {"started_at", text_or_null("RFC 3339.")},
                 {"stopped_at", text_or_null("RFC 3339.")},
                 {"ended_reason", text_or_null("Why it ended.")},
                 {"error", {{"type", {"object", "null"}}}},
                 {"session_id", text("Session of its events.")},
                 {"cost", number("US dollars, compute.")},
                 {"llm_cost", number("US dollars, models.")},
                 {"egress_cost", number("US dollars, bytes sent.")},
                 {"total_cost", number("US dollars.")},
                 {"walls", list(text("Wall."))},
                 {"missing_walls", list(text("Wall accepted as missing."))}});
}

json amount(const char* about, const config::amount_range& range, const char* type) {
  return {{"type", type},
          {"description", std::string(about) + " 0 or absent: the server's default."},
          {"anyOf", {{{"const", 0}}, {{"minimum", range.min}, {"maximum", range.max}}}}};
}

json create_schema(const config::host_config& host) {
  const auto& l = host.limits;
  json s =
      input({{"name", text("Name for people.")},
             {"template", text("Template; absent: the server's default.")},
             {"backend", text("Backend, or auto.")},
             {"cpus", amount("Processors.", l.cpus, "number")},
             {"memory_mb", amount("MiB of memory.", l.memory_mb, "integer")},
             {"disk_gb", amount("GiB of disk.", l.disk_gb, "integer")},
             {"network_mode", one_of("What it may reach; learn allows all and notes what was needed.",
                                     {"full", "allowlist", "learn", "none"})},
             {"allowlist", list(text("Host."), host_forms)},
             {"allowed_hosts", list(text("Host."), "The same as allowlist, under the name of .caged.yaml.")},
             {"network_rate", count("Most bytes a second over its network; 0: no limit.")},
             {"network_bytes", count("Most bytes in all over its network; 0: no limit.")},
             {"repo", text("Repository to put into /workspace: URL, or a path on the server.")},
             {"repo_token", text("Token for a private repository.")},
             {"repo_branch", text("Branch.")},
             {"repo_commit", text("Commit.")},
             {"repo_subdir", text("Folder of it that becomes /workspace.")},
             {"init_script", text("Shell text run in /workspace after the clone.")},
             {"secrets", list(text("Name of a secret."), "Secrets of the server's store to put into the environment.")},
             {"env", text_map("Environment of every process.")},
             {"packages", list(text("Package."), "Packages that must be there.")},
             {"agents", list(text("Agent."), "Agents that must be there.")},
             {"policies", policies_schema()},
             {"metadata", text_map("Labels.")},
             {"budget",
              {{"type", "number"}, {"minimum", 0}, {"description", "US dollars; at 100 % the sandbox is destroyed."}}},
             {"on_budget", one_of("What happens then; absent: the server's setting.", {"destroy", "pause"})},
             {"timeout",
              {{"type", "number"},
               {"minimum", 0},
               {"description", "Idle seconds until it is paused; clamped to the server's limit."}}},
             {"persona_id", text("Not on a self-hosted server.")},
             {"harness_id", text("Not on a self-hosted server.")},
             {"wait", flag("Answer only when it runs or has failed.")}});
  const json name_pattern{{"type", "string"}, {"pattern", "^[A-Za-z0-9@][A-Za-z0-9@/._+:-]*$"}, {"maxLength", 128}};
  s["properties"]["packages"]["items"] = name_pattern;
  s["properties"]["agents"]["items"] = name_pattern;
  s["properties"]["name"]["maxLength"] = 128;
  return s;
}

task<reply> create(services* s, call c) {
  auto& m = *s->sandboxes;
  const auto images = m.images();
  const std::string wanted = c.arguments.value("template", "");
  if (!wanted.empty() && std::find(images.begin(), images.end(), wanted) == images.end())
    if (auto listed = co_await m.list_images(); !listed) co_return listed.error();
  auto request = sandbox::parse_create(c.arguments, c.who, m.config(), m.backend_names(), m.images_by_backend());
  if (!request) co_return request.error();
  const auto& names = request->wanted.secrets;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (!s->secrets->has(names[i]))
      co_return fail(errc::invalid_argument, "secret_not_found", "there is no secret \"" + names[i] + "\"",
                     "Set it with `caged secrets set " + names[i] + "`.", "/secrets/" + std::to_string(i));
  if (auto allowed = co_await permit_create(s, request->wanted); !allowed) co_return allowed.error();
  auto made = co_await m.create(std::move(*request));
  if (!made) co_return made.error();
  const std::string id = made->id;
  co_await m.wait_settled(
      id, c.arguments.value("wait", false) ? std::chrono::steady_clock::duration(whole_setup) : patience);
  auto now = m.find(id);
  if (!now) co_return now.error();
  // Setting up failed while the caller waited: that is the answer, and the record stays to be looked at.
  if ((*now)->rec.status == sandbox::state::error && (*now)->rec.failure) co_return *(*now)->rec.failure;
  reply r = answer(to_api((*now)->rec, base::now_us()));
  r.headers.emplace_back("Location", "/v1/sandboxes/" + id);
  co_return r;
}

// Those that are only stored, too.
task<reply> list_destroyed(services* s) {
  json rows = json::array();
  std::string after;
  while (true) {
    auto page = co_await s->records->list("sandbox", after, 1000);
    if (!page) co_return page.error();
    for (const auto& row : *page) {
      after = row.id;
      const auto r = sandbox::from_stored(row.body);
      if (r.status == sandbox::state::destroyed) rows.push_back(to_api(r, base::now_us()));
    }
    if (page->size() < 1000) break;
  }
  co_return answer(std::move(rows));
}

task<reply> list_all(services* s, call c) {
  const std::string wanted = c.arguments.value("status", "");
  if (wanted == "destroyed" && c.who.sandbox_id.empty()) co_return co_await list_destroyed(s);
  json rows = json::array();
  for (const auto& l : s->sandboxes->all()) {
    const auto status = to_string(l->rec.status);
    if (wanted.empty() ? l->rec.status == sandbox::state::destroyed : status != wanted) continue;
    if (!c.who.sandbox_id.empty() && c.who.sandbox_id != l->rec.id) continue;
    rows.push_back(to_api(l->rec, base::now_us()));
  }
  co_return answer(std::move(rows));
}

task<reply> get(services* s, call c) {
  auto found = co_await s->sandboxes->recall(c.arguments["id"].get<std::string>());
  if (!found) co_return found.error();
  co_return answer(to_api((*found)->rec, base::now_us()));
}

task<reply> update(services* s, call c) {
  json patch = c.arguments;
  const auto id = patch["id"].get<std::string>();
  patch.erase("id");
  auto done = co_await s->sandboxes->update(id, std::move(patch));
  if (!done) co_return done.error();
  co_return answer(to_api(*done, base::now_us()));
}

task<reply> destroy(services* s, call c) {
  auto done = co_await s->sandboxes->destroy(c.arguments["id"].get<std::string>(), "destroyed");
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> pause(services* s, call c) {
  auto done = co_await s->sandboxes->pause(c.arguments["id"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> resume(services* s, call c) {
  auto done = co_await s->sandboxes->resume(c.arguments["id"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> changes(services* s, call c) {
  auto rows = co_await s->sandboxes->changes(c.arguments["id"].get<std::string>());
  if (!rows) co_return rows.error();
  json body{{"created", json::array()}, {"modified", json::array()}, {"deleted", json::array()}};
  for (const auto& row : *rows) {
    const char* kind = row.what == box_change::kind::created    ? "created"
                       : row.what == box_change::kind::modified ? "modified"
                                                                : "deleted";
    json entry{{"path", sandbox::to_utf8(row.path)}};
    if (row.what != box_change::kind::deleted) entry["size"] = row.size;
    body[kind].push_back(std::move(entry));
  }
  body["counts"] = {
      {"created", body["created"].size()}, {"modified", body["modified"].size()}, {"deleted", body["deleted"].size()}};
  co_return answer(std::move(body));
}

task<reply> metrics(services* s, call c) {
  const auto id = c.arguments["id"].get<std::string>();
  auto counted = co_await s->sandboxes->usage(id);
  if (!counted) co_return counted.error();
  box_usage& u = *counted;
  // No control group counts how many tasks there ever were; the agent, above the workload's rights, can tell.
  if (auto found = s->sandboxes->find(id); found && !u.tasks_started && (*found)->rec.status == sandbox::state::running)
    if (auto agent = co_await s->sandboxes->agent(*found); agent)
      if (auto told = co_await (*agent)->request("metrics", json::object()); told && told->contains("tasks_started"))
        u.tasks_started = (*told)["tasks_started"].get<std::uint64_t>();
  json body = json::object();
  const auto put = [&body](const char* key, const std::optional<std::uint64_t>& value) {
    body[key] = value ? json(*value) : json(nullptr);
  };
  const auto put_time = [&body](const char* key, const std::optional<std::chrono::microseconds>& value) {
    body[key] = value ? json(static_cast<double>(value->count()) / 1000.0) : json(nullptr);
  };
  put_time("cpu_user_ms", u.cpu_user);
  put_time("cpu_system_ms", u.cpu_system);
  put("memory_bytes", u.memory_bytes);
  put("memory_peak_bytes", u.memory_peak_bytes);
  put("tasks", u.tasks);
  put("tasks_peak", u.tasks_peak);
  put("tasks_started", u.tasks_started);
  put("disk_bytes", u.disk_bytes);
  put("oom_kills", u.oom_kills);
  co_return answer(std::move(body));
}

task<reply> ports(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto listed = co_await at->agent->request("ports.list", json::object());
  if (!listed) co_return listed.error();
  // One row a port, whichever addresses it is listened on; the set of likely web servers is the reference's.
  static const std::set<int> web{80, 3000, 4200, 5000, 5173, 8000, 8080, 8888};
  std::set<int> open;
  for (const auto& p : listed->value("ports", json::array())) open.insert(p.value("port", 0));
  json rows = json::array();
  for (const int port : open) {
    const auto seen = at->box->ports.try_emplace(port, base::now_us()).first->second;
    const bool shown = rows.size() < sandbox::most_previews && s->previews != nullptr;
    const std::string url = shown ? s->previews->url(at->box->rec.id, port) : std::string();
    rows.push_back({{"port", port},
                    {"protocol", web.contains(port) ? "http" : "tcp"},
                    {"preview_url", url.empty() ? json(nullptr) : json(url)},
                    {"protected", sandbox::preview_gate::guarded(at->box->rec, port)},
                    {"detected_at", base::format_time(seen)}});
  }
  std::erase_if(at->box->ports, [&open](const auto& row) { return !open.contains(row.first); });
  co_return answer(std::move(rows));
}

task<reply> protect(services* s, call c) {
  const auto id = c.arguments["id"].get<std::string>();
  const auto port = c.arguments["port"].get<int>();
  const auto password = c.arguments.value("password", "");
  if (auto done = co_await s->previews->protect(id, port, password); !done) co_return done.error();
  const auto url = s->previews->url(id, port);
  co_return answer(
      {{"port", port}, {"protected", !password.empty()}, {"preview_url", url.empty() ? json(nullptr) : json(url)}});
}

task<std::string> git_in_box(std::shared_ptr<sandbox::agent_client> agent, std::string path,
                             std::vector<std::string> arguments) {
  std::vector<std::string> argv{"git"};
  for (const char* word : {"-c", "core.fsmonitor=false", "-c", "safe.directory=*", "-c", "core.pager=cat"})
    argv.emplace_back(word);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  sandbox::exec_request want;
  want.arguments = {
      {"argv", argv}, {"cwd", path}, {"env", {{"GIT_TERMINAL_PROMPT", "0"}, {"GIT_OPTIONAL_LOCKS", "0"}}}};
  want.limit = std::chrono::seconds(60);
  want.keep = 4 * 1024 * 1024;
  auto done = co_await sandbox::exec_buffered(agent, std::move(want));
  if (!done) co_return done.error();
  if (done->exit.value("exit_code", json(-1)) != json(0))
    co_return fail(errc::conflict, "git_failed",
                   "git failed in " + path + ": " + sandbox::to_utf8(done->err.substr(0, 1000)),
                   "Name a folder inside a git work tree.", "/path");
  co_return std::move(done->out);
}

json status_rows(const std::string& porcelain) {
  json rows = json::array();
  std::size_t at = 0;
  while (at + 3 < porcelain.size()) {
    const std::size_t end = porcelain.find('\0', at);
    const std::string entry = porcelain.substr(at, end - at);
    at = end == std::string::npos ? porcelain.size() : end + 1;
    if (entry.size() < 4) continue;
    const char x = entry[0], y = entry[1];
    if (x == 'R' || x == 'C') at = porcelain.find('\0', at) + 1;  // the old name follows
    const char* status = x == '?'                 ? "untracked"
                         : (x == 'A' || y == 'A') ? "added"
                         : (x == 'D' || y == 'D') ? "deleted"
                                                  : "modified";
    rows.push_back({{"path", sandbox::to_utf8(entry.substr(3))}, {"status", status}});
  }
  return rows;
}

task<reply> git_diff(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  const std::string path = c.arguments.value("path", "/workspace");
  std::vector<std::string> words{"status", "--porcelain=v1", "-z", "--untracked-files=all"};
  auto status = co_await git_in_box(at->agent, path, std::move(words));
  if (!status) co_return status.error();
  words = {"diff", "--no-ext-diff", "--no-textconv", "--no-color"};
  auto diff = co_await git_in_box(at->agent, path, words);
  if (!diff) co_return diff.error();
  words.emplace_back("--cached");
  auto staged = co_await git_in_box(at->agent, path, std::move(words));
  if (!staged) co_return staged.error();
  json body{
      {"files", status_rows(*status)}, {"diff", sandbox::to_utf8(*diff)}, {"staged_diff", sandbox::to_utf8(*staged)}};
  co_return answer(std::move(body));
}

void add(services& s, operation_info info, const char* event_type, family_handler handler) {
  s.operations->add_own(std::move(info), event_type, bind(s, handler));
}

}  // namespace

task<reached> reach(services* s, std::string id) {
  auto found = s->sandboxes->find(id);
  if (!found) co_return found.error();
  reached at;
  at.box = *found;
  at.busy = std::make_shared<sandbox::activity>(at.box);
  auto agent = co_await s->sandboxes->agent(at.box);
  if (!agent) co_return agent.error();
  at.agent = *agent;
  co_return at;
}

void add_sandbox_operations(services& s) {
  const json only_id = input({{"id", sandbox_id()}}, {"id"});
  auto info = declare("sandbox.create", "POST", "/v1/sandboxes", scope::sandbox, "Make a sandbox",
                      create_schema(*s.config), sandbox_schema());
  info.description =
      "Makes a sandbox and sets it up: repository into /workspace, software checked, init script run. Answers when it "
      "runs, or "
      "after 0.8 s with status `pending` unless `wait` is true. A set-up that failed meanwhile is the answer's error.";
  info.success = 201;
  add(s, std::move(info), "", create);

  info = declare("sandbox.list", "GET", "/v1/sandboxes", scope::read, "List sandboxes",
                 input({{"status", one_of("Only those in this state.",
                                          {"pending", "running", "paused", "stopped", "error", "destroyed"})}}),
                 list(sandbox_schema()));
  info.description = "Lists sandboxes, oldest first. Without `status`, all but destroyed ones.";
  add(s, std::move(info), "", list_all);

  add(s,
      declare("sandbox.get", "GET", "/v1/sandboxes/{id}", scope::read,
              "Show one sandbox: state, resources, cost, budget", only_id, sandbox_schema()),
      "", get);

  const json budget{{"type", {"number", "null"}}, {"minimum", 0}, {"description", "US dollars; null: none."}};
  info = declare(
      "sandbox.update", "PATCH", "/v1/sandboxes/{id}", scope::sandbox,
      "Change a sandbox's name, idle time, budget, labels or network",
      input({{"id", sandbox_id()},
             {"name", text("Name.")},
             {"timeout", {{"type", "number"}, {"minimum", 1}, {"description", "Idle seconds."}}},
             {"budget", budget},
             {"on_budget", one_of("At 100 % of it.", {"destroy", "pause"})},
             {"metadata", text_map("Labels; replaces all.")},
             {"network_mode", one_of("What it may reach, from now on.", {"full", "allowlist", "learn", "none"})},
             {"allowlist", list(text("Host."), host_forms)},
             {"allowed_hosts", list(text("Host."), "The same as allowlist.")},
             {"network_rate", count("Most bytes a second; 0: no limit.")},
             {"network_bytes", count("Most bytes in all; 0: no limit.")}},
            {"id"}),
      sandbox_schema());
  info.idempotent = true;
  info.description =
      "Changes what is given and leaves the rest. A change of the network takes effect at once, also for "
      "connections that are open: those no longer allowed are cut.";
  add(s, std::move(info), "", update);

  info = declare("sandbox.destroy", "DELETE", "/v1/sandboxes/{id}", scope::sandbox,
                 "Destroy a sandbox and everything in it", only_id, nothing());
  info.success = 204;
  info.destructive = true;
  add(s, std::move(info), "", destroy);
  info = declare("sandbox.pause", "POST", "/v1/sandboxes/{id}/pause", scope::sandbox,
                 "Freeze a sandbox; paused time costs nothing", only_id, nothing());
  info.success = 204;
  add(s, std::move(info), "", pause);
  info = declare("sandbox.resume", "POST", "/v1/sandboxes/{id}/resume", scope::sandbox,
                 "Thaw a paused sandbox; its processes go on where they stood", only_id, nothing());
  info.success = 204;
  add(s, std::move(info), "", resume);

  const json change = list(output({{"path", text("Path inside.")}, {"size", count("Bytes.")}}));
  info = declare(
      "sandbox.changes", "GET", "/v1/sandboxes/{id}/changes", scope::read,
      "List the files created, changed and deleted, as the host saw it", only_id,
      output({{"created", change}, {"modified", change}, {"deleted", change}, {"counts", {{"type", "object"}}}}));
  info.description =
      "What differs in the sandbox's file system since its set-up ended, seen from the host: code inside cannot forge "
      "it.";
  add(s, std::move(info), "", changes);
  add(s,
      declare("sandbox.metrics", "GET", "/v1/sandboxes/{id}/metrics", scope::read,
              "Counters of a sandbox: processor, memory, tasks, disk", only_id, {{"type", "object"}}),
      "", metrics);
  add(s,
      declare("sandbox.ports", "GET", "/v1/sandboxes/{id}/ports", scope::read,
              "List the ports that listen in a sandbox", only_id, list({{"type", "object"}})),
      "", ports);
  info = declare(
      "port.protect", "POST", "/v1/sandboxes/{id}/ports/{port}/protect", scope::sandbox,
      "Ask for a password before a port is shown",
      input(
          {{"id", sandbox_id()},
           {"port", integer("The port.", 1, 65535)},
           {"password",
            {{"type", "string"}, {"maxLength", 256}, {"description", "The password; empty or absent takes it away."}}}},
          {"id", "port"}),
      output({{"port", integer("The port.", 1, 65535)},
              {"protected", flag("Whether it asks.")},
              {"preview_url", text_or_null("Its address.")}}));
  add(s, std::move(info), "", protect);
  add(s,
      declare("git.diff", "GET", "/v1/sandboxes/{id}/git/diff", scope::read,
              "Show what git sees as changed in a sandbox",
              input({{"id", sandbox_id()}, {"path", text("Folder; /workspace by default.")}}, {"id"}),
              output({{"files", list({{"type", "object"}})},
                      {"diff", text("Unified diff.")},
                      {"staged_diff", text("Unified diff of the index.")}})),
      "", git_diff);
}

}  // namespace caged::operation
