// One command in a sandbox, with our standard streams, terminal and signals tied to it.
#pragma once

#include <core/cli/session.hpp>
#include <core/cli/terminal.hpp>

namespace caged::cli {

enum class stdin_use : std::uint8_t { unset = 0, none, forward };
enum class tty_use : std::uint8_t { unset = 0, none, pty };

struct exec_plan {
  json input;               // body of sandbox.exec: command or argv, cwd, env …
  stdin_use in = stdin_use::none;
  tty_use tty = tty_use::none;
};

struct exec_outcome {
  int code = 125;   // of our process: the command's own, 128+n, or 124
  json exit;        // the exit frame
};

// Runs it to its end. Output goes to standard output and error as bytes; SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the
// command; a second SIGINT ends this call with `cancelled`, reason "interrupted". With a terminal, keys go raw and the
// size follows. The terminal is restored on every way out.
result<exec_outcome> run_exec(session& s, const std::string& sandbox_id, exec_plan plan, signal_watch& signals);

// The code of our process for an exit frame: 124 when timed out, 128+n for signal n, else the exit code. 125 when the
// frame holds none. Pure.
int exit_code_of(const json& exit_frame);

// 127 for a program that is not there and 126 for one that cannot run, as shells say it; 0 for every other failure.
// Pure.
int exit_code_of_refusal(const error& refusal);

// stdin_use for `--stdin`/`--no-stdin` and what standard input is: piped input is forwarded, a terminal only with a
// PTY.
stdin_use choose_stdin(tty_use tty, bool asked, bool refused);

// Runs it with input and output of our own making (for `cp`): `feed` is asked for standard input until it answers "",
// `take` gets standard output. Standard error is collected (at most 8 KiB).
struct piped_outcome {
  int code = 125;
  std::string complaints;
};
result<piped_outcome> run_piped(http::client& client, const std::string& sandbox_id, json input,
                                std::function<result<std::string>()> feed,
                                std::function<result<void>(std::string_view)> take);

}  // namespace caged::cli
