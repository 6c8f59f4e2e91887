// One true example per operation: for /openapi.json, the help texts and whoever reads either.
#include <map>

#include "core/operation/families.hpp"

namespace caged::operation {
namespace {

using examples = std::vector<operation_example>;
using table = std::map<std::string, examples, std::less<>>;

constexpr const char* box = "cage-a1b2c3d4e5f6";
constexpr const char* began = "2026-01-05T10:00:00.000000Z";

json shown(const char* status) {
  return {{"id", box},          {"name", "parser"},  {"status", status},
          {"template", "host"}, {"backend", "jail"}, {"created_at", began}};
}
json entry(const char* name, const char* path, const char* type, int size) {
  return {{"name", name}, {"path", path}, {"type", type}, {"size", size}, {"mod_time", began}, {"mode", "0644"}};
}
json kept() { return {{"id", "snap_7f3a"}, {"name", "clean"}, {"sandbox_id", box}, {"created_at", began}}; }
json in(json members) {
  members["id"] = box;
  return members;
}

json asked(const char* state) {
  return {{"id", "appr-7f3a9c21b0de4455"},
          {"state", state},
          {"gate", "command"},
          {"reason", "git push asks first"},
          {"sandbox_id", box},
          {"session_id", "sess-0123456789abcdef"},
          {"expires_at", "2026-01-05T10:05:00.000000Z"}};
}
json scored() {
  return {{"session_id", "sess-0123456789abcdef"},
          {"sandbox_id", box},
          {"score", 75},
          {"band", "good"},
          {"deductions", {{{"rule", "pipe_to_shell"}, {"points", 25}, {"event_type", "command"}, {"sequence", 12}}}}};
}

table judgement() {
  const json session{{"session", "sess-0123456789abcdef"}}, approval{{"approval", "appr-7f3a9c21b0de4455"}};
  json with_note = approval;
  with_note["note"] = "the release is planned";
  return {{"policy.list",
           {{"What there is", json::object(), {{{"name", "trust"}, {"version", "1.0.0"}, {"in_force", true}}}}}},
          {"policy.replay",
           {{"What the policies of today would say", session, {{"events", 120}, {"changed", 0}}}}},
          {"event.ingest",
           {{"A tool the agent used",
             {{"events",
               {{{"type", "tool_call"},
                 {"sandbox_id", box},
                 {"timestamp", began},
                 {"payload", {{"tool", "search"}}}}}}},
             {{"accepted", 1}, {"errors", 0}}}}},
          {"alert.list", {{"Newest first", {{"limit", 10}}, {{"alerts", json::array()}, {"total", 0}}}}},
          {"alert.get", {{"One alert", {{"alert", "alert-0a1b2c3d4e5f"}}, {{"state", "open"}, {"rule_type", "error_spike"}}}}},
          {"alert.resolve", {{"Seen to", {{"alert", "alert-0a1b2c3d4e5f"}}, nullptr}}},
          {"alert.mute", {{"Known, and not over", {{"alert", "alert-0a1b2c3d4e5f"}}, nullptr}}},
          {"alert.retry", {{"The receiver is back", {{"delivery", "dlv-0a1b2c3d4e5f"}}, nullptr}}},
          {"notification.list", {{"Unread ones", {{"unread", true}}, {{"notifications", json::array()}, {"unread_count", 0}}}}},
          {"notification.unread", {{"How many", json::object(), {{"unread_count", 0}}}}},
          {"notification.read", {{"One", {{"notification", "ntf-0a1b2c3d4e5f"}}, nullptr}}},
          {"notification.read_all", {{"All", json::object(), nullptr}}},
          {"alert.rules", {{"All", json::object(), {{{"id", "rule-error_spike"}, {"enabled", true}}}}}},
          {"alert.update_rule",
           {{"Five errors are enough",
             {{"rule", "rule-error_spike"}, {"config", {{"error_count_threshold", 5}}}},
             {{"id", "rule-error_spike"}, {"enabled", true}}}}},
          {"alert.deliveries", {{"All", json::object(), json::array()}}},
          {"notification.config", {{"What is set", json::object(), {{"webhook_configured", false}}}}},
          {"notification.configure",
           {{"A signed webhook",
             {{"webhook_url", "https://example.org/hook"}, {"webhook_secret", "…"}},
             {{"webhook_configured", true}}}}},
          {"session.trust", {{"Every deduction", session, scored()}}},
          {"trust.sandbox", {{"One row a session", in({}), json::array({scored()})}}},
          {"approval.list", {{"What waits", {{"state", "pending"}}, json::array({asked("pending")})}}},
          {"approval.get", {{"One question", approval, asked("pending")}}},
          {"approval.approve", {{"Let it happen", with_note, asked("approved")}}},
          {"approval.deny", {{"Refuse it", with_note, asked("denied")}}}};
}

table sandboxes() {
  return {
      {"sandbox.create",
       {{"A repository, half a processor less than the default",
         {{"repo", "https://example.org/project.git"}, {"cpus", 1.5}, {"memory_mb", 1024}},
         shown("running")},
        {"A dollar at most, paused after ten idle minutes",
         {{"name", "parser"}, {"budget", 1}, {"timeout", 600}},
         shown("running")}}},
      {"sandbox.list", {{"Those that run", {{"status", "running"}}, json::array({shown("running")})}}},
      {"sandbox.get", {{"One sandbox", in({}), shown("running")}}},
      {"sandbox.update", {{"Five dollars more time", in({{"budget", 5}, {"timeout", 3600}}), shown("running")}}},
      {"sandbox.destroy", {{"End it", in({}), nullptr}}},
      {"sandbox.pause", {{"Freeze it", in({}), nullptr}}},
      {"sandbox.resume", {{"Thaw it", in({}), nullptr}}},
      {"sandbox.changes",
       {{"Since its start",
         in({}),
         {{"created", {{{"path", "/workspace/out.o"}, {"size", 1240}}}},
          {"modified", json::array()},
          {"deleted", json::array()},
          {"counts", {{"created", 1}, {"modified", 0}, {"deleted", 0}}}}}}},
      {"sandbox.metrics", {{"Counters", in({}), {{"cpu_user_ms", 812}, {"memory_bytes", 18874368}, {"tasks", 4}}}}},
      {"port.protect",
       {{"Not for everybody",
         in({{"port", 3000}, {"password", "open sesame"}}),
         {{"port", 3000}, {"protected", true}}}}},
      {"sandbox.ports", {{"A development server", in({}), {{{"port", 5173}, {"protocol", "tcp"}}}}}},
      {"git.diff",
       {{"Of the work tree",
         in({{"path", "/workspace"}}),
         {{"files", {{{"path", "src/a.c"}, {"status", "modified"}}}},
          {"diff", "--- a/src/a.c\n+++ b/src/a.c\n"},
          {"staged_diff", ""}}}}},
      {"network.get",
       {{"After a run in mode learn",
         in({}),
         {{"network_mode", "learn"},
          {"allowlist", json::array()},
          {"proposed", {"example.org"}},
          {"counters", nullptr}}}}},
      {"network.log",
       {{"What was refused",
         in({{"verdict", "deny"}}),
         {{{"operation", "connect"},
           {"host", "example.net"},
           {"port", 443},
           {"verdict", "deny"},
           {"rule", "not_allowed"}}}}}},
      {"network.why",
       {{"One name",
         in({{"host", "example.net"}}),
         {{{"host", "example.net"},
           {"rule", "not_allowed"},
           {"advice", "Add example.net to allowed_hosts."},
           {"count", 2}}}}}},
      {"sandbox.fork", {{"A copy to try something in", in({}), shown("running")}}},
      {"snapshot.create", {{"Before the upgrade", in({{"name", "clean"}, {"description", "tests pass"}}), kept()}}},
      {"snapshot.list", {{"Of one sandbox", in({}), json::array({kept()})}}},
      {"snapshot.get", {{"One", {{"snapshot", "snap_7f3a"}}, kept()}}},
      {"snapshot.delete", {{"Remove it", {{"snapshot", "snap_7f3a"}}, nullptr}}},
      {"snapshot.restore",
       {{"Into the sandbox it came from", {{"snapshot", "snap_7f3a"}, {"target_sandbox_id", box}}, {{"status", "restored"}}}}},
      {"snapshot.download",
       {{"Where",
         {{"snapshot", "snap_7f3a"}},
         {{"url", "/v1/snapshots/snap_7f3a/download/content"}, {"expires_in_seconds", 3600}}}}},
      {"snapshot.content", {{"The archive", {{"snapshot", "snap_7f3a"}}, nullptr}}},
      {"snapshot.upload", {{"One that was downloaded", in({{"name", "clean"}}), kept()}}},
  };
}

table commands() {
  const json usage{{"user_ms", 3.1}, {"system_ms", 1.2}, {"max_rss_kb", 3400}};
  const json ended{{"exit_code", 0}, {"signal", nullptr}, {"timed_out", false}, {"duration_ms", 5.4}, {"usage", usage}};
  const json process{{"process_id", "p7"}, {"pid", 41},       {"argv", {"npm", "start"}}, {"cwd", "/workspace"},
                     {"tty", false},       {"running", true}, {"started_at", began},      {"exit", nullptr}};
  json answer = ended;
  answer["stdout"] = answer["output"] = "3\n";
  answer["stderr"] = "";
  const json one = in({{"process", "p7"}});
  const auto with = [one](json members) {
    json all = one;
    all.update(members);
    return all;
  };
  return {
      {"sandbox.exec",
       {{"A pipeline", in({{"command", "ls | wc -l"}}), answer},
        {"A program without a shell, a minute at most",
         in({{"argv", {"make", "check"}}, {"cwd", "/workspace"}, {"timeout", 60}}), answer},
        {"In the background",
         in({{"command", "npm start"}, {"background", true}}),
         {{"process_id", "p7"}, {"pid", 41}}}}},
      {"sandbox.exec_stream", {{"Tests, as they run", in({{"argv", {"make", "check"}}}), {{"data", "PASS parser\n"}}}}},
      {"sandbox.exec_socket", {{"The conversation's first frame holds the input of sandbox.exec", in({}), nullptr}}},
      {"sandbox.terminal", {{"A shell of 120 columns", in({{"rows", 40}, {"cols", 120}}), nullptr}}},
      {"terminal.sessions",
       {{"Terminals to come back to", in({}), {{{"id", "p9"}, {"pid", 58}, {"attached", false}}}}}},
      {"process.list", {{"What runs", in({}), json::array({process})}}},
      {"process.get", {{"One", one, process}}},
      {"process.signal", {{"Ask it to end", with({{"signal", "SIGTERM"}}), nullptr}}},
      {"process.stdin", {{"A line, then the end", with({{"data", "yes\n"}, {"close", true}}), nullptr}}},
      {"process.output", {{"From the start", one, {{"data", "listening on 5173\n"}}}}},
  };
}

table files() {
  const json file = entry("a.c", "/workspace/src/a.c", "file", 120);
  const auto at = [](const char* path) { return in({{"path", path}}); };
  return {
      {"file.list", {{"Two levels", in({{"path", "/workspace"}, {"depth", 2}}), json::array({file})}}},
      {"file.stat", {{"One file", at("/workspace/src/a.c"), file}}},
      {"file.read",
       {{"The first hundred bytes", in({{"path", "/workspace/src/a.c"}, {"range", "bytes=0-99"}}), nullptr}}},
      {"file.write",
       {{"A note",
         in({{"path", "/workspace/note.txt"}, {"content", "hello\n"}}),
         {{"status", "ok"}, {"path", "/workspace/note.txt"}, {"size", 6}}}}},
      {"file.remove", {{"A folder with all in it", in({{"path", "/workspace/build"}, {"recursive", true}}), nullptr}}},
      {"file.mkdir",
       {{"With its parents", in({{"path", "/workspace/a/b"}, {"parents", true}}),
         entry("b", "/workspace/a/b", "directory", 0)}}},
      {"file.move", {{"Rename", in({{"from", "/workspace/b.c"}, {"to", "/workspace/src/a.c"}}), file}}},
      {"file.copy",
       {{"A folder", in({{"from", "/workspace/src"}, {"to", "/workspace/old"}}),
         entry("old", "/workspace/old", "directory", 0)}}},
      {"file.chmod",
       {{"Make it a program", in({{"path", "/workspace/run.sh"}, {"mode", "0755"}}),
         entry("run.sh", "/workspace/run.sh", "file", 40)}}},
      {"file.symlink",
       {{"A link", in({{"target", "src/a.c"}, {"path", "/workspace/a.c"}}),
         entry("a.c", "/workspace/a.c", "symlink", 7)}}},
      {"file.glob",
       {{"All sources",
         in({{"pattern", "src/**/*.cpp"}, {"path", "/workspace"}}),
         {{"matches", json::array()}, {"truncated", false}}}}},
      {"file.search",
       {{"Where main is",
         in({{"pattern", "int main\\("}, {"path", "/workspace"}, {"glob", "*.c"}}),
         {{"matches", json::array()}, {"truncated", false}}}}},
      {"file.watch",
       {{"Everything below", in({{"path", "/workspace"}, {"recursive", true}}), {{"path", "/workspace/a.c"}}}}},
  };
}

table host() {
  const json session{{"session", "ses_1f2e"}};
  const json about{{"id", "ses_1f2e"}, {"sandbox_id", box}, {"started_at", began}};
  const json event{{"id", 1201}, {"type", "command"}, {"sandbox_id", box}};
  const auto part = [&](json members) {
    members.update(session);
    return members;
  };
  return {
      {"event.follow", {{"Commands only, after event 1200", {{"after", 1200}, {"type", {"command"}}}, event}}},
      {"sandbox.events", {{"From the start, then live", in({}), event}}},
      {"sandbox.logs",
       {{"The last twenty lines",
         in({{"tail", 20}}),
         {{{"timestamp", began}, {"type", "lifecycle"}, {"message", "running"}}}}}},
      {"sandbox.log_stream",
       {{"Follow", in({}), {{"timestamp", began}, {"type", "lifecycle"}, {"message", "running"}}}}},
      {"sandbox.sessions", {{"Of one sandbox", in({}), json::array({about})}}},
      {"session.list", {{"The first fifty", {{"page", 1}, {"per_page", 50}}, json::object()}}},
      {"session.get", {{"One", session, about}}},
      {"session.replay",
       {{"A hundred events after the 400th", part({{"after_seq", 400}, {"limit", 100}}), json::object()}}},
      {"session.replay_summary", {{"Counted", session, json::object()}}},
      {"session.verify", {{"Nothing was changed", session, json::object()}}},
      {"key.list",
       {{"All keys", json::object(), json::array({json{{"id", "key_1a2b"}, {"name", "ci"}, {"scope", "sandbox"}}})}}},
      {"key.create",
       {{"For a build machine, a month",
         {{"name", "ci"}, {"scope", "sandbox"}, {"expires_in", 2592000}},
         {{"key", "caged_sk_…"}, {"info", {{"id", "key_1a2b"}}}}}}},
      {"secret.set",
       {{"For sandboxes that deploy",
         {{"name", "DEPLOY_KEY"}, {"value", "correct horse battery"}},
         {{"name", "DEPLOY_KEY"}}}}},
      {"secret.list", {{"All names", json::object(), json::array({json{{"name", "DEPLOY_KEY"}}})}}},
      {"secret.remove", {{"Forget it", {{"name", "DEPLOY_KEY"}}, nullptr}}},
      {"billing.usage",
       {{"Of January",
         {{"since", "2026-01-01"}, {"until", "2026-01-31"}},
         {{"total_cost", 1.25}, {"llm_cost", 1.1}, {"compute_cost", 0.15}}}}},
      {"billing.statement",
       {{"Of January, for a spreadsheet", {{"from", "2026-01-01"}, {"to", "2026-01-31"}, {"format", "csv"}}, "day,sandbox,…"}}},
      {"billing.budgets", {{"Now", json::object(), {{"account", 50}, {"session", nullptr}, {"spent", 12.5}}}}},
      {"billing.set_budgets",
       {{"Fifty dollars in all", {{"account", 50}}, {{"account", 50}, {"session", nullptr}, {"spent", 12.5}}}}},
      {"billing.subscription", {{"Of a server of your own", json::object(), {{"tier", "self-hosted"}, {"status", "active"}}}}},
      {"billing.checkout", {{"The plan pro", {{"plan_id", "pro"}}, {{"url", "https://checkout.example/c/1"}}}}},
      {"billing.portal", {{"Change the card", json::object(), {{"url", "https://billing.example/p/1"}}}}},
      {"billing.cancel", {{"With the period", json::object(), nullptr}}},
      {"key.revoke", {{"End it", {{"key_id", "key_1a2b"}}, nullptr}}},
      {"account.get", {{"Who am I", json::object(), {{"name", "admin"}, {"scope", "full"}}}}},
      {"auth.ticket", {{"For a browser's WebSocket", json::object(), {{"ticket", "caged_wst_…"}, {"expires_in", 60}}}}},
      {"host.capabilities", {{"Limits", json::object(), {{"backends", {"jail"}}, {"templates", {"host"}}}}}},
      {"host.doctor", {{"Walls", json::object(), {{"backends", json::array()}}}}},
      {"template.list", {{"All", json::object(), {{{"name", "host"}, {"default", true}}}}}},
      {"template.show", {{"How far it is", {{"template", "minimal"}}, {{"name", "minimal"}, {"status", "ready"}}}}},
      {"template.build",
       {{"A shipped recipe",
         {{"name", "minimal"}},
         {{"name", "minimal"}, {"build", {{"status", "building"}, {"step", "installing 5 packages"}}}}}}},
      {"template.remove", {{"Remove it", {{"template", "minimal"}}, nullptr}}},
      {"plugin.list", {{"All", json::object(), {{{"name", "jail"}, {"kind", "vmm"}, {"state", "serving"}}}}}},
      {"plugin.schema", {{"Of the jail", {{"name", "vmm.jail"}}, {{"type", "object"}}}}},
  };
}

}  // namespace

std::vector<operation_example> examples_of(std::string_view operation) {
  static const table all = [] {
    table merged = sandboxes();
    merged.merge(commands());
    merged.merge(files());
    merged.merge(host());
    merged.merge(judgement());
    return merged;
  }();
  const auto it = all.find(operation);
  return it == all.end() ? examples{} : it->second;
}

}  // namespace caged::operation
