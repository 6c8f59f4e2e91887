// terminal_exec and the process_* tools.
#include <signal.h>

#include <algorithm>

#include "git/repository.hpp"
#include "mcp/server/runner.hpp"
#include "mcp/server/tools.hpp"

namespace caged::mcp {
namespace {

using wire::failed;
using namespace std::chrono_literals;

constexpr std::int64_t longest_seconds = 24 * 3600;

// What exec.start is asked, with the command checked where commands are limited.
json start_arguments(const workspace& w, const agent::arguments& args) {
  const std::string command = args.text("command"), cwd = args.path("cwd", ".");
  if (command.find_first_not_of(" \t\r\n") == std::string::npos)
    throw agent::bad_argument("/command", "the command is blank", "Give a shell command.");
  json what{{"command", w.commands().checked(command)}, {"cwd", cwd}};
  if (!w.commands().limited()) return what;
  json env = json::object();
  for (const auto& [name, value] : agent::guarded_environment({})) env[name] = value;
  env["GIT_CEILING_DIRECTORIES"] = w.files().folder();
  if (w.home_is_inside()) env["GIT_CONFIG_GLOBAL"] = "/dev/null";
  what["env"] = std::move(env);
  if (!command_policy::runs_git(what.at("command").get<std::string>())) return what;
  try {
    const agent::git_repository r = agent::find_repository(w.files(), cwd);
    if (!r.suspicious.empty())
      throw failed("permission_denied", "command_refused",
                   "the repository's own configuration has \"" + r.suspicious + "\", which can make git run programs",
                   "Commands are limited here; use the git_* tools.");
  } catch (const failed& f) {
    if (f.get().reason != "no_repository") throw;
  }
  return what;
}

std::string ending(const json& exit, std::int64_t limit_seconds) {
  if (exit.at("timed_out").get<bool>())
    return "exit: timed out after " + std::to_string(limit_seconds) + " s; everything it started was killed";
  std::string text;
  if (!exit.at("signal").is_null())
    text = "exit: " + exit.at("signal").get<std::string>();
  else if (exit.at("exit_code") != 0)
    text = "exit: " + std::to_string(exit.at("exit_code").get<int>());
  if (exit.at("out_of_memory").get<bool>()) text += " (out of memory)";
  return text;
}

void add_section(std::string& text, const std::string& section) {
  if (section.empty()) return;
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += section;
}

tool_result exec_result(run_outcome& o, std::int64_t limit) {
  tool_result r;
  std::string out = o.out.text(), error = o.error.text();
  const std::string end = ending(o.exit, limit);
  const bool cut = o.out.cut() || o.error.cut();
  r.text = out;
  if (!error.empty()) add_section(r.text, "STDERR:\n" + error);
  add_section(r.text, end);
  if (cut)
    add_section(r.text, "[output was cut; read all " + std::to_string(o.out.total() + o.error.total()) +
                            " bytes in pages: process_read with id " + o.id + "]");
  if (r.text.empty()) r.text = "(no output)";
  r.how = end.empty() ? tool_result::outcome::success : tool_result::outcome::failure;
  r.structured = {{"exit_code", o.exit.at("exit_code")},
                  {"signal", o.exit.at("signal")},
                  {"timed_out", o.exit.at("timed_out")},
                  {"duration_ms", o.exit.at("duration_ms")},
                  {"stdout_bytes", o.out.total()},
                  {"stderr_bytes", o.error.total()},
                  {"truncated", cut}};
  if (cut) r.structured["id"] = o.id;
  r.structured["stdout"] = std::move(out);
  r.structured["stderr"] = std::move(error);
  return r;
}

json row_of(const agent::process& p) {
  const json summary = p.summary();
  json row{{"id", p.about().id},
           {"pid", p.pid()},
           {"running", summary.at("running")},
           {"output_bytes", summary.at("output_bytes")}};
  row["command"] = repaired(clip(p.about().argv.back(), 200));
  if (summary.contains("exit")) row["exit_code"] = summary.at("exit").at("exit_code");
  if (summary.contains("exit")) row["signal"] = summary.at("exit").at("signal");
  return row;
}

std::string state_line(const json& row) {
  std::string text = row.at("id").get<std::string>() + (row.at("running").get<bool>() ? " running" : " ended");
  if (row.contains("exit_code") && !row.at("exit_code").is_null())
    text += " exit: " + std::to_string(row.at("exit_code").get<int>());
  if (row.contains("signal") && !row.at("signal").is_null()) text += " exit: " + row.at("signal").get<std::string>();
  return text;
}

tool_result read_output(const workspace& w, const agent::process& p, std::uint64_t from) {
  const agent::output_log& log = p.log();
  std::string bytes = from < log.begin() ? w.old_output(p, from, page_bytes) : std::string();
  const std::uint64_t begin = bytes.empty() ? std::max(from, log.begin()) : from;
  std::uint64_t at = begin + bytes.size();
  if (at >= log.begin())
  for (auto piece = log.at(at, page_bytes); !piece.bytes.empty() && bytes.size() < page_bytes;
       piece = log.at(at, page_bytes - bytes.size())) {
    bytes += piece.bytes;
    at += piece.bytes.size();
  }
  // What is cut in the middle of a character is left for the next page, unless there is nothing else.
  if (at < log.end()) {
    const std::size_t whole = without_half(bytes).size();
    at -= bytes.size() - whole;
    bytes.resize(whole);
  }
  tool_result r;
  r.structured = row_of(p);
  r.structured["from"] = begin;
  r.structured["next_offset"] = at;
  r.structured["total_bytes"] = log.end();
  r.text = plain(bytes);
  r.structured["output"] = r.text;
  if (begin > from) add_section(r.text, "[" + std::to_string(begin - from) + " older bytes are gone]");
  add_section(r.text, "[" + state_line(r.structured) + "; next offset " + std::to_string(at) + " of " +
                          std::to_string(log.end()) + "]");
  return r;
}

}  // namespace

void terminal_exec(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  const std::int64_t limit = args.number("timeout", 1, longest_seconds, 30);
  json what = start_arguments(w, args);
  what["timeout_ms"] = limit * 1000;
  run_program(w, call, what, page_bytes / 2, [call, limit](run_outcome& o) { call->answer(exec_result(o, limit)); });
}

void process_start(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  json what = start_arguments(w, args);
  what["stdin"] = true;
  const auto p = w.start_process(what);
  tool_result r;
  r.structured = row_of(*p);
  r.text = "started " + p->about().id + " (pid " + std::to_string(p->pid()) + ")";
  call->answer(std::move(r));
}

void process_read(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  const auto p = w.processes().find(args.text("id"));
  const auto from = static_cast<std::uint64_t>(args.number("offset", 0, std::int64_t{1} << 62, 0));
  const auto wait = args.number("wait", 0, 600, 0);
  if (wait == 0 || p->finished()) return call->answer(read_output(w, *p, from));
  // Answers at the end of the process or of the wait, whichever comes first.
  const auto until = agent::steady::now() + std::chrono::seconds(wait);
  struct poll {
    static void again(workspace& of, const call_ptr& c, const std::shared_ptr<agent::process>& which, std::uint64_t at,
                      agent::steady::time_point end) {
      if (c->cancelled()) return;
      if (which->finished() || agent::steady::now() >= end) return c->answer(read_output(of, *which, at));
      of.events().after(50ms, [&of, c, which, at, end] { again(of, c, which, at, end); });
    }
  };
  poll::again(w, call, p, from, until);
}

void process_write(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  const auto p = w.processes().find(args.text("id"));
  const auto input = call->arguments().find("input");
  if (input != call->arguments().end() && !input->is_string())
    throw agent::bad_argument("/input", "input is not a string");
  const std::string bytes = input == call->arguments().end() ? std::string() : input->get<std::string>();
  if (bytes.size() > (1u << 20))
    throw agent::bad_argument("/input", "input is longer than 1 MiB", "Send it in pieces.");
  if (!p->has_stdin())
    throw failed("conflict", "no_stdin", "the process has ended or its input is closed",
                 "process_list tells which processes run.");
  w.write_stdin(*p, bytes);
  if (args.flag("close", false)) p->close_stdin();
  tool_result r;
  r.structured = {{"id", p->about().id}, {"bytes", bytes.size()}};
  r.text = "wrote " + std::to_string(bytes.size()) + " bytes";
  call->answer(std::move(r));
}

void process_signal(workspace& w, const call_ptr& call) {
  const agent::arguments args(call->arguments());
  const auto p = w.processes().find(args.text("id"));
  const std::string name = args.text("signal", "SIGTERM");
  const int number = agent::signal_number(name);
  if (number == 0)
    throw agent::bad_argument("/signal", "\"" + repaired(clip(name, 40)) + "\" is no signal",
                              "Use SIGTERM, SIGINT, SIGKILL …");
  p->signal(number);
  tool_result r;
  r.structured = {{"id", p->about().id}, {"signal", agent::signal_name(number)}};
  r.text = "sent " + agent::signal_name(number) + " to " + p->about().id;
  call->answer(std::move(r));
}

void process_list(workspace& w, const call_ptr& call) {
  json rows = json::array();
  tool_result r;
  const json known = w.processes().list();
  for (const json& summary : known.at("processes")) {
    rows.push_back(row_of(*w.processes().find(summary.at("id").get<std::string>())));
    if (r.text.size() < page_bytes)
      r.text += state_line(rows.back()) + "  " + rows.back().at("command").get<std::string>() + "\n";
  }
  if (r.text.empty()) r.text = "no processes";
  r.structured = json::object();
  r.structured["processes"] = std::move(rows);
  call->answer(std::move(r));
}

}  // namespace caged::mcp
