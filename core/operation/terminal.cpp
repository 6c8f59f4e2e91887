// Terminals: the WebSocket that people and dashboards type into.
#include "core/operation/conversation.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/operation/terminal_record.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<std::shared_ptr<sandbox::agent_process>> open_or_attach(services* s, reached at, json a, std::string key) {
  if (a.contains("session")) {
    auto process = co_await at.agent->attach(a["session"].get<std::string>());
    if (!process) co_return process.error();
    auto handle = *process;
    if (a.contains("cols") && a.contains("rows"))
      (void)co_await handle->resize(a["cols"].get<int>(), a["rows"].get<int>());
    co_return handle;
  }
  json arguments{{"cols", a.value("cols", 80)},
                 {"rows", a.value("rows", 24)},
                 {"cwd", a.value("cwd", "/workspace")},
                 {"term", a.value("term", "xterm-256color")}};
  if (a.contains("command"))
    arguments["command"] = a["command"];
  else
    arguments["argv"] = {"/bin/sh", "-c", "[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l"};
  const json told = arguments;
  auto started = co_await at.agent->start("pty.start", std::move(arguments));
  if (!started) co_return started.error();
  json fact{{"pid", (*started)->pid()}, {"key", key}, {"tty", true}};
  for (const char* name : {"command", "argv", "cwd"})
    if (told.contains(name)) fact[name] = told[name];
  s->sandboxes->command_started(at.box, (*started)->id(), std::move(fact));
  co_return *started;
}

task<reply> terminal(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto process = co_await open_or_attach(s, *at, c.arguments, c.who.key_id);
  if (!process) co_return process.error();
  talk_options how;
  how.output = c.arguments.value("binary", false) ? talk_options::output_form::binary : talk_options::output_form::text;
  json greeting{{"type", "session"}, {"session", (*process)->id()}, {"pid", (*process)->pid()}};
  how.greeting = greeting.dump();
  const auto record = std::make_shared<terminal_record>(s, at->box, (*process)->id(), c.arguments.value("cols", 80),
                                                        c.arguments.value("rows", 24));
  how.heard = [record](std::string_view output) { record->take(output); };
  auto exit = co_await talk(c.conversation, at->agent, *process, std::move(how));
  if (!exit) co_return exit.error();
  if (!exit->is_null()) {
    (void)co_await s->sandboxes->command_finished(at->box, (*process)->id(), std::move(*exit));
    s->sandboxes->agent_left(at->box);
  }
  co_return reply{};
}

task<reply> sessions(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  json arguments = json::object();
  auto rows = co_await at->agent->request("process.list", std::move(arguments));
  if (!rows) co_return rows.error();
  json terminals = json::array();
  for (const auto& row : rows->value("processes", json::array())) {
    if (row.value("kind", "") != "pty" || !row.value("running", false)) continue;
    json one = process_to_api(row);
    one["id"] = one["process_id"];
    terminals.push_back(std::move(one));
  }
  co_return answer(std::move(terminals));
}

}  // namespace

void add_terminal_operations(services& s) {
  auto info =
      declare("sandbox.terminal", "GET", "/v1/sandboxes/{id}/terminal", scope::sandbox, "A terminal over WebSocket",
              schema::input({{"id", sandbox_id()},
                             {"rows", integer("Rows; 24 by default.", 1, 4096)},
                             {"cols", integer("Columns; 80 by default.", 1, 4096)},
                             {"session", text("Attach to this terminal again: scrollback first, then live.")},
                             {"command", text("Instead of a login shell.")},
                             {"cwd", text("Working folder.")},
                             {"term", text("TERM; xterm-256color by default.")},
                             {"binary", flag("Output as binary frames.")}},
                            {"id"}),
              {{"type", "object"}});
  info.description =
      "Subprotocol `terminal`. Client: {\"type\":\"input\",\"data\"}, {\"type\":\"resize\",\"rows\",\"cols\"}, "
      "{\"type\":\"ping\"}, or binary frames as raw input. "
      "Server: {\"type\":\"session\",\"session\"} first, then {\"type\":\"output\",\"data\"} (or binary frames), "
      "{\"type\":\"pong\"} and, when the shell ends, {\"type\":\"exit\",…}. "
      "The terminal outlives the connection: attach again with `session`.";
  info.gives = payload::duplex;
  info.destructive = true;
  s.operations->add_own(std::move(info), "", bind(s, terminal));
  s.operations->add_own(declare("terminal.sessions", "GET", "/v1/sandboxes/{id}/terminal/sessions", scope::read,
                                "Terminals that are open in a sandbox", schema::input({{"id", sandbox_id()}}, {"id"}),
                                list({{"type", "object"}})),
                        "", bind(s, sessions));
}

}  // namespace caged::operation
