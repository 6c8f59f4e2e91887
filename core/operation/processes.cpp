// Processes started through the agent: look, signal, write, read again.
#include <caged/base64.hpp>

#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/exec.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<json> forward(services* s, call c, std::string agent_operation, json arguments) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto agent = at->agent;
  co_return co_await agent->request(std::move(agent_operation), std::move(arguments));
}

task<reply> list_all(services* s, call c) {
  auto rows = co_await forward(s, c, "process.list", json::object());
  if (!rows) co_return rows.error();
  json shown = json::array();
  for (const auto& row : rows->value("processes", json::array())) shown.push_back(process_to_api(row));
  co_return answer(std::move(shown));
}

task<reply> get(services* s, call c) {
  json arguments{{"id", c.arguments["process"]}};
  auto row = co_await forward(s, c, "process.get", std::move(arguments));
  if (!row) co_return row.error();
  co_return answer(process_to_api(*row));
}

task<reply> signal(services* s, call c) {
  json arguments{{"id", c.arguments["process"]}, {"signal", c.arguments.value("signal", "SIGTERM")}};
  auto done = co_await forward(s, c, "process.signal", std::move(arguments));
  if (!done) co_return done.error();
  co_return reply{};
}

// Cut short, an attached process would be detached between two calls: each call attaches for itself.
task<reply> write_stdin(services* s, call c) {
  std::string bytes = c.arguments.value("data", "");
  if (c.arguments.contains("data_base64")) {
    auto decoded = base64_decode(c.arguments["data_base64"].get<std::string>());
    if (!decoded)
      co_return fail(errc::invalid_argument, "bad_base64", "data_base64 is not base64", "Encode the bytes as base64.",
                     "/data_base64");
    bytes = std::move(*decoded);
  }
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto process = co_await at->agent->attach(c.arguments["process"].get<std::string>());
  if (!process) co_return process.error();
  auto handle = *process;
  if (!bytes.empty())
    if (auto written = co_await handle->write_stdin(std::move(bytes)); !written) co_return written.error();
  if (c.arguments.value("close", false))
    if (auto closed = co_await handle->close_stdin(); !closed) co_return closed.error();
  co_return reply{};
}

task<reply> output(services* s, call c) {
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto process = co_await at->agent->attach(c.arguments["process"].get<std::string>());
  if (!process) co_return process.error();
  reply r;
  r.items = items_of(s, *at, *process);
  co_return r;
}

}  // namespace

// The environment stays out: it may hold what was given to this process in confidence.
json process_to_api(const json& row) {
  json shown{{"process_id", row.value("id", "")},
             {"pid", row.value("pid", 0)},
             {"argv", row.value("argv", json::array())},
             {"cwd", row.value("cwd", "")},
             {"tty", row.value("kind", "") == "pty"},
             {"running", row.value("running", false)},
             {"attached", row.value("readers", 0)},
             {"output_bytes", row.value("output_bytes", 0)},
             {"dropped_bytes", row.value("dropped_bytes", 0)}};
  shown["started_at"] = base::format_time(row.value("started_unix_ms", std::int64_t{0}) * 1000);
  shown["exit"] = row.contains("exit") ? sandbox::exit_body(row["exit"]) : json(nullptr);
  return shown;
}

json process_schema() {
  json s =
      schema::output({{"process_id", schema::text("Its id.")},
                      {"pid", schema::count("Its number inside the sandbox.")},
                      {"argv", schema::list(schema::text("Word."), "Program and arguments.")},
                      {"cwd", schema::text("Folder it was started in.")},
                      {"tty", schema::flag("It has a terminal.")},
                      {"running", schema::flag("It has not ended.")},
                      {"attached", schema::count("Readers of its output now.")},
                      {"output_bytes", schema::count("What it wrote so far.")},
                      {"dropped_bytes", schema::count("Of these, what is kept no more.")},
                      {"started_at", schema::text("RFC 3339, UTC.")},
                      {"exit", {{"type", {"object", "null"}}, {"description", "How it ended; null while it runs."}}}});
  s["required"] = {"process_id", "pid", "argv", "cwd", "tty", "running", "started_at", "exit"};
  return s;
}

void add_process_operations(services& s) {
  const json process{
      {"type", "string"}, {"description", "The process_id that exec answered."}, {"minLength", 1}, {"maxLength", 128}};
  const json one = schema::input({{"id", sandbox_id()}, {"process", process}}, {"id", "process"});
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };

  own(declare("process.list", "GET", "/v1/sandboxes/{id}/processes", scope::read,
              "List the processes started in a sandbox", schema::input({{"id", sandbox_id()}}, {"id"}),
              list(process_schema())),
      "", list_all);
  own(declare("process.get", "GET", "/v1/sandboxes/{id}/processes/{process}", scope::read, "One process", one,
              process_schema()),
      "", get);

  auto info =
      declare("process.signal", "POST", "/v1/sandboxes/{id}/processes/{process}/signal", scope::sandbox,
              "Send a signal to a process; SIGKILL ends its whole tree",
              schema::input(
                  {{"id", sandbox_id()}, {"process", process}, {"signal", text("Name, as in SIGTERM (the default).")}},
                  {"id", "process"}),
              nothing());
  info.success = 204;
  own(std::move(info), "command", signal);
  info = declare("process.stdin", "POST", "/v1/sandboxes/{id}/processes/{process}/stdin", scope::sandbox,
                 "Write to a process's standard input",
                 schema::input({{"id", sandbox_id()},
                                {"process", process},
                                {"data", text("Text.")},
                                {"data_base64", text("Bytes.")},
                                {"close", flag("Then close it.")}},
                               {"id", "process"}),
                 nothing());
  info.success = 204;
  own(std::move(info), "command", write_stdin);
  info = declare("process.output", "GET", "/v1/sandboxes/{id}/processes/{process}/output", scope::read,
                 "A process's kept output, then what comes", one, {{"type", "object"}});
  info.gives = payload::items;
  own(std::move(info), "", output);
}

}  // namespace caged::operation
