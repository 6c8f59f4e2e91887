// Running commands: to the end, as a stream of items, and as a conversation.
#include "core/sandbox/exec.hpp"

#include <caged/base64.hpp>

#include "core/operation/conversation.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/operation/terminal_record.hpp"

namespace caged::operation {
namespace {

using namespace schema;
using sandbox::process_item;

constexpr double default_seconds = 300;
constexpr std::size_t default_keep = 1024 * 1024;
constexpr std::size_t most_kept = 16 * 1024 * 1024;

json exec_input() {
  return input({{"id", sandbox_id()},
                {"command", text("Shell text, run by bash or sh.")},
                {"argv",
                 {{"type", "array"},
                  {"items", {{"type", "string"}}},
                  {"minItems", 1},
                  {"description", "Program and arguments, without a shell. Either this or command."}}},
                {"cwd", text("Working folder; /workspace by default.")},
                {"env", text_map("Added to the environment.")},
                {"user", text("User inside; root by default.")},
                {"timeout",
                 {{"type", "number"},
                  {"exclusiveMinimum", 0},
                  {"maximum", 86400},
                  {"description", "Seconds until the whole process tree is killed; 300 by default."}}},
                {"stdin", text("Text for its standard input.")},
                {"stdin_base64", text("Bytes for its standard input.")},
                {"background", flag("Answer at once; the process goes on. No time limit unless given.")},
                {"max_output_bytes", integer("Bytes kept of each stream; 1 MiB by default.", 0, most_kept)},
                {"tty", flag("Conversations only: give it a terminal.")},
                {"cols", integer("Terminal columns.", 1, 4096)},
                {"rows", integer("Terminal rows.", 1, 4096)}},
               {"id"});
}

json usage_schema() {
  return output(
      {{"user_ms", number("Milliseconds.")}, {"system_ms", number("Milliseconds.")}, {"max_rss_kb", count("KiB.")}});
}

json exit_members() {
  return output({{"exit_code", {{"type", {"integer", "null"}}, {"description", "null when a signal ended it."}}},
                 {"signal", text_or_null("As in SIGKILL.")},
                 {"timed_out", flag("Its time ran out.")},
                 {"duration_ms", number("Wall time.")},
                 {"usage", usage_schema()}});
}

// The agent's arguments from the API's; says what contradicts.
result<json> agent_arguments(const json& a) {
  const bool shell = a.contains("command"), direct = a.contains("argv");
  if (shell == direct)
    return fail(errc::invalid_argument, "command_missing",
                shell ? "both command and argv are given" : "neither command nor argv is given",
                "Give command (shell text) or argv (program and arguments).", shell ? "/argv" : "/command");
  if (shell && a["command"].get_ref<const std::string&>().find_first_not_of(" \t\r\n") == std::string::npos)
    return fail(errc::invalid_argument, "command_empty", "the command is blank", "Give shell text to run.", "/command");
  if (direct && a["argv"][0].get_ref<const std::string&>().empty())
    return fail(errc::invalid_argument, "command_empty", "argv[0] is empty", "Name a program.", "/argv/0");
  json out{{"cwd", a.value("cwd", "/workspace")}};
  for (const char* key : {"command", "argv", "env", "user"})
    if (a.contains(key)) out[key] = a[key];
  return out;
}

result<std::shared_ptr<byte_source>> stdin_of(const json& a) {
  if (a.contains("stdin") && a.contains("stdin_base64"))
    return fail(errc::invalid_argument, "stdin_twice", "both stdin and stdin_base64 are given", "Give one of them.",
                "/stdin_base64");
  if (a.contains("stdin")) return source_of(a["stdin"].get<std::string>());
  if (!a.contains("stdin_base64")) return std::shared_ptr<byte_source>();
  auto bytes = base64_decode(a["stdin_base64"].get<std::string>());
  if (!bytes)
    return fail(errc::invalid_argument, "bad_base64", "stdin_base64 is not base64", "Encode the bytes as base64.",
                "/stdin_base64");
  return source_of(std::move(*bytes));
}

json command_fact(const json& arguments, std::int64_t pid, const std::string& key) {
  json fact{{"pid", pid}, {"key", key}};
  for (const char* name : {"command", "argv", "cwd", "user"})
    if (arguments.contains(name)) fact[name] = arguments[name];
  return fact;
}

void put_bytes(json& body, const char* text_key, const char* bytes_key, const std::string& bytes) {
  body[text_key] = sandbox::to_utf8(bytes);
  if (!sandbox::is_utf8(bytes)) body[bytes_key] = base64_encode(bytes);
}

task<reply> start_in_background(services* s, reached at, json arguments, json given, std::string key) {
  if (given.contains("timeout"))
    arguments["timeout_ms"] = static_cast<std::int64_t>(given["timeout"].get<double>() * 1000);
  arguments["stdin"] = false;
  const json told = arguments;
  auto started = co_await at.agent->start("exec.start", std::move(arguments));
  if (!started) co_return started.error();
  json fact = command_fact(told, (*started)->pid(), key);
  fact["background"] = true;
  s->sandboxes->command_started(at.box, (*started)->id(), std::move(fact));
  co_return answer({{"process_id", (*started)->id()}, {"pid", (*started)->pid()}});
}

task<reply> exec(services* s, call c) {
  auto arguments = agent_arguments(c.arguments);
  if (!arguments) co_return arguments.error();
  auto bytes = stdin_of(c.arguments);
  if (!bytes) co_return bytes.error();
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  if (c.arguments.value("background", false)) {
    if (*bytes)
      co_return fail(errc::invalid_argument, "stdin_in_background", "stdin and background are both given",
                     "Start it, then write to its stdin: POST …/processes/{process}/stdin.", "/stdin");
    co_return co_await start_in_background(s, *at, std::move(*arguments), c.arguments, c.who.key_id);
  }
  sandbox::exec_request want;
  want.arguments = *arguments;
  want.stdin_bytes = *bytes;
  want.limit =
      std::chrono::milliseconds(static_cast<std::int64_t>(c.arguments.value("timeout", default_seconds) * 1000));
  want.keep = c.arguments.value("max_output_bytes", default_keep);
  const json told = *arguments;
  const std::string key = c.who.key_id;
  auto box = at->box;
  want.on_start = [s, box, told, key](const sandbox::agent_process& process) {
    s->sandboxes->command_started(box, process.id(), command_fact(told, process.pid(), key));
  };
  auto done = co_await sandbox::exec_buffered(at->agent, std::move(want));
  if (!done) {
    json fact = command_fact(*arguments, 0, c.who.key_id);
    fact["phase"] = "failed";
    fact["error"] = {{"reason", done.error().reason}, {"message", done.error().message}};
    (void)co_await s->sandboxes->note(at->box, "command", std::move(fact));
    co_return done.error();
  }
  if (auto noted = co_await s->sandboxes->command_finished(at->box, done->process_id, done->exit); !noted)
    co_return noted.error();
  json body = sandbox::exit_body(done->exit);
  body["process_id"] = done->process_id;
  body["pid"] = done->pid;
  put_bytes(body, "stdout", "stdout_base64", done->out);
  put_bytes(body, "stderr", "stderr_base64", done->err);
  body["output"] = sandbox::to_utf8(done->merged);
  body["truncated"] = done->dropped > 0;
  body["dropped_bytes"] = done->dropped;
  co_return answer(std::move(body));
}

// Starts for a stream or a conversation.
task<std::shared_ptr<sandbox::agent_process>> start_live(services* s, reached at, json arguments, bool with_stdin,
                                                         const json given, std::string key) {
  const bool tty = given.value("tty", false);
  if (given.contains("timeout") || !tty)
    arguments["timeout_ms"] =
        static_cast<std::int64_t>(given.value("timeout", with_stdin ? 86400.0 : default_seconds) * 1000);
  if (tty) {
    arguments["cols"] = given.value("cols", 80);
    arguments["rows"] = given.value("rows", 24);
  } else {
    arguments["stdin"] = with_stdin;
  }
  const json told = arguments;
  auto started = co_await at.agent->start(tty ? "pty.start" : "exec.start", std::move(arguments));
  if (!started) co_return started.error();
  s->sandboxes->command_started(at.box, (*started)->id(), command_fact(told, (*started)->pid(), key));
  co_return *started;
}

enum class first_item : std::uint8_t { unset = 0, start, output };

// stdout, stderr and exit of a process as stream items.
class process_items : public item_source {
 public:
  process_items(services* s, reached at, std::shared_ptr<sandbox::agent_process> process, first_item first)
      : services_(s), at_(std::move(at)), process_(std::move(process)), first_(first) {}

  task<std::optional<stream_item>> next() override {
    if (std::exchange(first_, first_item::output) == first_item::start) {
      stream_item start{"", "start", {{"process_id", process_->id()}, {"pid", process_->pid()}}};
      co_return std::optional<stream_item>(std::move(start));
    }
    auto item = co_await process_->next();
    if (!item) co_return item.error();
    if (!*item) co_return std::optional<stream_item>();
    process_item& i = **item;
    stream_item out;
    if (i.what == process_item::kind::exit) {
      out.event = "exit";
      out.data = sandbox::exit_body(i.exit);
      if (auto noted = co_await services_->sandboxes->command_finished(at_.box, process_->id(), i.exit); !noted)
        co_return noted.error();
    } else {
      out.event = i.what == process_item::kind::out ? "stdout" : "stderr";
      if (sandbox::is_utf8(i.data))
        out.data = {{"data", i.data}};
      else
        out.data = {{"data_base64", base64_encode(i.data)}};
    }
    co_return std::optional<stream_item>(std::move(out));
  }

 private:
  services* services_;
  reached at_;
  std::shared_ptr<sandbox::agent_process> process_;
  first_item first_;
};

asio::awaitable<void> feed_quietly(std::shared_ptr<sandbox::agent_process> process,
                                   std::shared_ptr<byte_source> bytes) {
  (void)co_await sandbox::feed(process, bytes);
}

task<reply> exec_stream(services* s, call c) {
  auto arguments = agent_arguments(c.arguments);
  if (!arguments) co_return arguments.error();
  auto bytes = stdin_of(c.arguments);
  if (!bytes) co_return bytes.error();
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto process = co_await start_live(s, *at, *arguments, *bytes != nullptr, c.arguments, c.who.key_id);
  if (!process) co_return process.error();
  if (*bytes) s->sandboxes->run("stdin of a command", feed_quietly(*process, *bytes));
  reply r;
  r.items = std::make_shared<process_items>(s, *at, *process, first_item::start);
  co_return r;
}

task<reply> exec_socket(services* s, call c) {
  auto first = co_await c.conversation->read();
  if (!first) co_return first.error();
  if (!*first || !(**first).text)
    co_return fail(errc::invalid_argument, "first_frame", "the first frame is not a text frame with the command",
                   "Send the input of sandbox.exec as JSON first.");
  auto given = parse_json((**first).data);
  if (!given) co_return given.error();
  if (!given->is_object())
    co_return fail(errc::invalid_argument, "first_frame", "the first frame is no JSON object",
                   "Send the input of sandbox.exec as JSON first.");
  (*given)["id"] = c.arguments["id"];
  if (auto ok = json_schema::compile(exec_input())->check(*given); !ok) co_return ok.error();
  auto arguments = agent_arguments(*given);
  if (!arguments) co_return arguments.error();
  if (auto allowed = co_await permit_command(s, *given, c.transport); !allowed) co_return allowed.error();
  auto at = co_await reach(s, c.arguments["id"].get<std::string>());
  if (!at) co_return at.error();
  auto process = co_await start_live(s, *at, *arguments, true, *given, c.who.key_id);
  if (!process) co_return process.error();
  talk_options how;
  json greeting{{"type", "start"}, {"process_id", (*process)->id()}, {"pid", (*process)->pid()}};
  how.greeting = greeting.dump();
  if (given->value("tty", false)) {
    const auto record = std::make_shared<terminal_record>(s, at->box, (*process)->id(), given->value("cols", 80),
                                                          given->value("rows", 24));
    how.heard = [record](std::string_view output) { record->take(output); };
  }
  auto exit = co_await talk(c.conversation, at->agent, *process, std::move(how));
  if (!exit) co_return exit.error();
  if (!exit->is_null()) (void)co_await s->sandboxes->command_finished(at->box, (*process)->id(), std::move(*exit));
  co_return reply{};
}

}  // namespace

std::shared_ptr<item_source> items_of(services* s, reached at, std::shared_ptr<sandbox::agent_process> process) {
  return std::make_shared<process_items>(s, std::move(at), std::move(process), first_item::output);
}

void add_exec_operations(services& s) {
  json answer_schema = exit_members();
  for (const char* key : {"stdout", "stderr", "output", "process_id"}) answer_schema["properties"][key] = text("");
  answer_schema["properties"]["stdout_base64"] = text("Only when stdout is not UTF-8.");
  answer_schema["properties"]["stderr_base64"] = text("Only when stderr is not UTF-8.");
  answer_schema["properties"]["truncated"] = flag("More came than max_output_bytes.");
  answer_schema["properties"]["dropped_bytes"] = count("Bytes not kept.");
  answer_schema["properties"]["pid"] = count("Process id inside.");
  auto info = declare("sandbox.exec", "POST", "/v1/sandboxes/{id}/exec", scope::sandbox,
                      "Run a command and wait for its end", exec_input(), answer_schema);
  info.description =
      "Runs shell text (`command`) or a program (`argv`) in the sandbox; stdout and stderr come apart, and together as "
      "`output`. "
      "A time-out kills the whole process tree and says `timed_out`. With `background`, answers at once.";
  info.destructive = true;
  s.operations->add_own(std::move(info), "", bind(s, exec));

  info = declare("sandbox.exec_stream", "POST", "/v1/sandboxes/{id}/exec/stream", scope::sandbox,
                 "Run a command and stream its output", exec_input(), {{"type", "object"}});
  info.description =
      "Items: start {process_id,pid}; stdout and stderr {data} or, for bytes that are not UTF-8, {data_base64}; exit.";
  info.gives = payload::items;
  info.destructive = true;
  s.operations->add_own(std::move(info), "", bind(s, exec_stream));

  info = declare("sandbox.exec_socket", "GET", "/v1/sandboxes/{id}/exec/ws", scope::sandbox,
                 "Run a command in a conversation over WebSocket", input({{"id", sandbox_id()}}, {"id"}),
                 {{"type", "object"}});
  info.description =
      "Subprotocol `exec`. First frame: the input of sandbox.exec as JSON text. Then binary frames are stdin, text "
      "frames are "
      "stdin, stdin_close, signal and resize messages; answers are a start message, binary frames (first byte 1 "
      "stdout, 2 stderr) and an exit message.";
  info.gives = payload::duplex;
  info.destructive = true;
  s.operations->add_own(std::move(info), "", bind(s, exec_socket));
}

}  // namespace caged::operation
