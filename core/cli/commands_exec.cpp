// caged exec and caged connect.
#include <core/cli/commands.hpp>
#include <core/cli/connect.hpp>
#include <core/cli/exec_session.hpp>
#include <core/config/units.hpp>

#include <unistd.h>

namespace caged::cli {
namespace {

struct exec_options {
  std::string id, cwd, user, timeout;
  std::vector<std::string> env;
  bool pty = false;
  bool background = false;
  bool forward_input = false;
  bool refuse_input = false;
};

result<json> exec_input(const session& s, const exec_options& o, const std::vector<std::string>& words) {
  json input = command_input(words);
  if (!o.cwd.empty()) input["cwd"] = o.cwd;
  if (!o.user.empty()) input["user"] = o.user;
  input["timeout"] = 86400;
  if (!o.timeout.empty()) {
    auto time = config::parse_duration(o.timeout);
    if (!time)
      return fail(errc::invalid_argument, "invalid_amount", "--timeout: " + time.error().message, time.error().action);
    input["timeout"] = time->count();
  }
  for (const auto& text : o.env) {
    auto pair = parse_env_flag(text, s.env());
    if (!pair) return pair.error();
    input["env"][pair->first] = pair->second;
  }
  return input;
}

result<int> start_in_background(session& s, const exec_options& o, json input) {
  input["background"] = true;
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("POST", sandbox_path(o.id, "/exec"), std::move(input));
  if (!answer) return answer.error();
  if (s.machine()) {
    s.print_document(*answer);
  } else {
    s.print(printable(field(*answer, "process_id")) + "\n");
    s.note("see it with 'caged ps " + o.id + "', end it with 'caged kill " + o.id + " " + field(*answer, "process_id") +
           "'");
  }
  return 0;
}

// With --json the command's output is part of one document, so the buffered call fits better than a stream.
result<int> run_buffered(session& s, const exec_options& o, json input) {
  auto client = s.connect();
  if (!client) return client.error();
  const auto limit = std::chrono::seconds(input.value("timeout", 300) + 30);
  auto answer = client->call("POST", sandbox_path(o.id, "/exec"), std::move(input), limit);
  if (!answer) return answer.error();
  s.print_document(*answer);
  return exit_code_of(*answer);
}

result<int> perform_exec(session& s, const exec_options& o, const std::vector<std::string>& words) {
  if (words.empty()) {
    return fail(
        errc::invalid_argument, "no_command", "there is no command to run",
        "Write it after the sandbox: caged exec " + o.id + " -- make test. For a shell: caged connect " + o.id + ".");
  }
  if (o.pty && ::isatty(STDIN_FILENO) != 1) {
    return fail(errc::invalid_argument, "no_terminal", "-t was given, but standard input is not a terminal",
                "Leave -t away when input is piped.");
  }
  auto input = exec_input(s, o, words);
  if (!input) return input.error();
  if (o.background) return start_in_background(s, o, std::move(*input));
  if (s.machine()) return run_buffered(s, o, std::move(*input));
  if (auto where = s.find_server(start_policy::never); !where) return where.error();
  signal_watch signals(nullptr);
  exec_plan plan;
  plan.input = std::move(*input);
  plan.tty = o.pty ? tty_use::pty : tty_use::none;
  plan.in = choose_stdin(plan.tty, o.forward_input, o.refuse_input);
  auto outcome = run_exec(s, o.id, std::move(plan), signals);
  if (!outcome && outcome.error().reason == "interrupted") return 128 + SIGINT;
  if (!outcome) {
    const int code = exit_code_of_refusal(outcome.error());
    if (code == 0) return outcome.error();
    s.note(describe(outcome.error()));
    return code;
  }
  return outcome->code;
}

}  // namespace

void add_exec_commands(CLI::App& parent, const command_set& set) {
  auto o = std::make_shared<exec_options>();
  auto self = std::make_shared<CLI::App*>(nullptr);
  const split_arguments& split = set.split;
  auto* exec = set.add(
      parent, "exec", help_of("sandbox.exec_socket", "Run a command in a sandbox and exit with its code"),
      "  caged exec cage_1a2b3c -- make test\n"
      "  caged exec cage_1a2b3c 'echo $HOME | wc -c'     one word is shell text\n"
      "  caged exec -t cage_1a2b3c -- vim notes\n"
      "  caged exec -d cage_1a2b3c -- npm start           in the background; prints its process\n"
      "Exit codes: the command's own; 128+n when signal n ended it; 124 out of time; 125 Caged failed.",
      [o, self, &split](session& s) { return perform_exec(s, *o, join_command((*self)->remaining(), split)); }, 125);
  *self = exec;
  exec->add_flag("-t,--tty", o->pty, "Give the command a terminal");
  exec->add_flag("-d,--detach", o->background, "Start it and return");
  exec->add_flag("-i,--stdin", o->forward_input, "Forward standard input even from a terminal");
  exec->add_flag("-n,--no-stdin", o->refuse_input, "Forward no standard input");
  exec->add_option("-w,--cwd", o->cwd, "Folder to run in (default /workspace)");
  exec->add_option("-u,--user", o->user, about("sandbox.exec", "user"));
  exec->add_option("--timeout", o->timeout, "Most time it may take: seconds, or 15m (default 24h)");
  add_list_flag(*exec, "-e,--env", o->env, "NAME=VALUE, or NAME for your own value; repeatable, never split", '\0');
  exec->add_option("ID", o->id, about("sandbox.get", "id"))->required();
  exec->prefix_command(true);

  auto place = std::make_shared<connect_options>();
  auto* connect = set.add(parent, "connect", help_of("sandbox.terminal", "Open a terminal in a sandbox"),
                          "  caged connect cage_1a2b3c\n"
                          "  caged connect cage_1a2b3c --session term_1       come back to a terminal\n"
                          "Ctrl-] detaches: the shell goes on; 'exit' ends it.",
                          [place](session& s) { return perform_connect(s, *place); });
  connect->add_option("ID", place->id, about("sandbox.get", "id"))->required();
  connect->add_option("--session", place->session_id, "A terminal that was left, see --list");
  connect->add_option("--command", place->command, about("sandbox.terminal", "command"));
  connect->add_flag("--list", place->list, "List the terminals of the sandbox");
}

}  // namespace caged::cli
