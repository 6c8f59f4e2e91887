// caged run: one command in a sandbox of its own.
#include <core/cli/commands.hpp>
#include <core/cli/exec_session.hpp>
#include <core/cli/run_summary.hpp>
#include <core/cli/sandbox_calls.hpp>
#include <core/config/units.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::cli {
namespace {

using clock = std::chrono::steady_clock;

struct run_options {
  resource_flags resources;
  std::vector<std::string> command;
  std::string cwd, user, time_limit, summary_file;
  bool pty = false;
  bool keep = false;
  bool forward_input = false;
  bool refuse_input = false;
  bool no_summary = false;
};

// The sandbox of one run: ended on every way out unless it is to stay.
class run_box {
 public:
  run_box(session& s, std::string id) : session_(s), id_(std::move(id)) {}
  ~run_box() {
    if (!id_.empty()) end();
  }
  const std::string& id() const noexcept { return id_; }
  void keep() { id_.clear(); }

  void end() {
    progress shown("destroying sandbox " + id_);
    // A client of its own: the run's may have been cancelled.
    auto client = session_.connect();
    result<json> gone = client ? client->call("DELETE", sandbox_path(id_), nullptr, std::chrono::minutes(1))
                               : result<json>(client.error());
    shown.stop();
    if (!gone && gone.error().code != errc::not_found) {
      session_.note("sandbox " + id_ + " could not be destroyed: " + describe(gone.error()) +
                    "; end it with 'caged rm " + id_ + "'");
    }
    id_.clear();
  }

 private:
  session& session_;
  std::string id_;
};

result<json> exec_input(const run_options& o) {
  json input = command_input(o.command);
  if (!o.cwd.empty()) input["cwd"] = o.cwd;
  if (!o.user.empty()) input["user"] = o.user;
  if (!o.time_limit.empty()) {
    auto time = config::parse_duration(o.time_limit);
    if (!time)
      return fail(errc::invalid_argument, "invalid_amount", "--time-limit: " + time.error().message,
                  time.error().action);
    input["timeout"] = time->count();
  } else {
    // The server's own default of five minutes fits calls of programs, not a person's builds.
    input["timeout"] = 86400;
  }
  return input;
}

result<void> write_summary(const std::string& file, const json& summary) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return errno_error(errno, "write " + file, "Check the path given to --summary-json.");
  const bool written = write_all(fd, document_text(summary, output_format::json));
  const int failure = errno;
  if (::close(fd) != 0 || !written) return errno_error(failure, "write " + file);
  return {};
}

run_facts collect(session& s, const std::string& id) {
  run_facts facts;
  facts.sandbox_id = id;
  auto client = s.connect();
  if (!client) return facts;
  const auto get = [&](const std::string& path, json& slot) {
    // Each is a courtesy: what a backend cannot tell is shown as not measured.
    if (auto answer = client->call("GET", path, nullptr, std::chrono::seconds(15))) slot = std::move(*answer);
  };
  get(sandbox_path(id, "/metrics"), facts.metrics);
  get(sandbox_path(id, "/changes"), facts.changes);
  get(sandbox_path(id), facts.sandbox);
  return facts;
}

result<int> perform_command(session& s, const run_options& o, const std::string& id, clock::time_point began,
                            signal_watch& signals) {
  auto input = exec_input(o);
  if (!input) return input.error();
  exec_plan plan;
  plan.input = std::move(*input);
  plan.tty = o.pty ? tty_use::pty : tty_use::none;
  plan.in = choose_stdin(plan.tty, o.forward_input, o.refuse_input);
  auto outcome = run_exec(s, id, std::move(plan), signals);
  if (!outcome) {
    const int code = exit_code_of_refusal(outcome.error());
    if (code == 0) return outcome.error();
    s.note(describe(outcome.error()));
    return code;
  }
  const auto total = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - began);
  run_facts facts = collect(s, id);
  facts.exit_code = outcome->code;
  facts.exit = std::move(outcome->exit);
  facts.total = total;
  const json summary = summary_document(facts);
  if (!o.no_summary && !s.flags().quiet) {
    write_all(STDERR_FILENO, s.machine() ? to_text(summary) + "\n" : "\n" + summary_text(summary, s.err_colors()));
  }
  if (!o.summary_file.empty()) {
    if (auto ok = write_summary(o.summary_file, summary); !ok) return ok.error();
  }
  return facts.exit_code;
}

result<int> perform_run(session& s, const run_options& o) {
  if (o.pty && ::isatty(STDIN_FILENO) != 1) {
    return fail(errc::invalid_argument, "no_terminal", "-t was given, but standard input is not a terminal",
                "Leave -t away when input is piped.");
  }
  if (auto input = exec_input(o); !input) return input.error();
  auto request = build_request(s, o.resources, file_policy::only_when_named);
  if (!request) return request.error();
  const auto began = clock::now();
  if (auto where = s.find_server(start_policy::if_needed); !where) return where.error();

  // From here on a signal may not just end us: there is a sandbox to end as well.
  event_flag cancel;
  std::atomic<int> fatal{0};
  signal_watch signals([&](int number) {
    if (number == SIGWINCH) return;
    fatal = number;
    cancel.set();
  });
  auto maker = s.connect();  // not cancellable: an answer that is lost would leave a sandbox nobody knows
  if (!maker) return maker.error();
  auto sandbox = create_sandbox(*maker, *request);
  if (!sandbox) return sandbox.error();
  run_box box(s, field(*sandbox, "id"));
  const std::string id = box.id();
  auto client = s.connect(start_policy::never, cancel.descriptor());
  if (!client) return client.error();
  auto running = wait_until_running(s, *client, *sandbox);
  if (!running && fatal == 0) return running.error();
  if (fatal != 0) return 128 + fatal;

  auto code = perform_command(s, o, id, began, signals);
  if (!code && code.error().reason == "interrupted") {
    s.note("interrupted; destroying sandbox " + id);
    return 128 + SIGINT;
  }
  if (o.keep && code) {
    box.keep();
    s.note("sandbox " + id + " is kept; end it with 'caged rm " + id + "'");
  }
  return code;
}

}  // namespace

void add_run_command(CLI::App& parent, const command_set& set) {
  auto o = std::make_shared<run_options>();
  const split_arguments& split = set.split;
  auto* command = set.add(
      parent, "run",
      help_of("sandbox.create",
              "Run one command in a fresh sandbox: stream it, destroy the sandbox, exit with its code"),
      "  caged run -- python3 -c 'print(1)'\n"
      "  caged run --repo . -- make test            a copy of this folder, its own tests\n"
      "  caged run --network allowlist --allowlist example.org -- 'pip install x && pytest'\n"
      "  cat data | caged run -- sort > sorted\n"
      "  caged run -t -- bash                       with a terminal\n"
      "One word after -- is shell text; several are run as they are.\n"
      "Exit codes: the command's own; 128+n when signal n ended it; 124 out of time; 125 Caged failed.\n"
      "Ctrl-C goes to the command; a second one destroys the sandbox.",
      [o, &split](session& s) -> result<int> {
        auto words = join_command(o->command, split);
        if (words.empty()) {
          return fail(errc::invalid_argument, "no_command", "there is no command to run",
                      "Write it after '--': caged run -- make test. To only make a sandbox: caged up.");
        }
        run_options given = *o;
        given.command = std::move(words);
        return perform_run(s, given);
      },
      125);
  add_resource_flags(*command, o->resources);
  command->add_option("-c,--config", set.flags.config, "Read this .caged.yaml too");
  command->add_flag("--no-start", set.flags.no_start, "Do not start a local server when none runs");
  command->add_flag("-t,--tty", o->pty, "Give the command a terminal");
  command->add_flag("-i,--stdin", o->forward_input, "Forward standard input even from a terminal");
  command->add_flag("-n,--no-stdin", o->refuse_input, "Forward no standard input");
  command->add_option("-w,--cwd", o->cwd, "Folder to run in (default /workspace)");
  command->add_option("-u,--user", o->user, "User to run as");
  command->add_option("--time-limit", o->time_limit, "Most time the command may take: seconds, or 15m (default 24h)");
  command->add_flag("-k,--keep", o->keep, "Keep the sandbox afterwards");
  command->add_option("--summary-json", o->summary_file, "Write the summary to this file as JSON");
  command->add_flag("--no-summary", o->no_summary, "Print no summary");
  command->add_option("CMD", o->command, "The command, after --");
}

}  // namespace caged::cli
