#include "exec/process_table.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "exec/kill_tree.hpp"
#include "pty/terminal.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_running = 4096;
constexpr std::size_t max_finished = 64;
constexpr std::size_t max_finished_bytes = 4u << 20;
constexpr std::int64_t longest_timeout_ms = std::int64_t{30} * 24 * 3600 * 1000;

struct pipe_ends {
  fd read, write;
};

pipe_ends make_pipe() {
  int raw[2];
  if (::pipe2(raw, O_CLOEXEC) != 0) throw os_failure(errno, "make a pipe");
  return {fd(raw[0]), fd(raw[1])};
}

void unblock(const fd& ours) { ::fcntl(ours.get(), F_SETFL, ::fcntl(ours.get(), F_GETFL) | O_NONBLOCK); }

bool exists(const char* program) { return ::access(program, X_OK) == 0; }

std::vector<std::string> command_line(const arguments& args, process_kind kind) {
  std::vector<std::string> argv = args.texts("argv");
  const std::string command = args.text("command", {});
  if (!argv.empty() && args.has("command"))
    throw bad_argument("/command", "both argv and command are given",
                       "Give one: argv runs a program, command a shell.");
  const char* shell = exists("/bin/bash") ? "/bin/bash" : "/bin/sh";
  if (!argv.empty()) {
    if (argv[0].empty()) throw bad_argument("/argv/0", "the program's name is empty");
    return argv;
  }
  if (args.has("argv")) throw bad_argument("/argv", "argv is empty", "Its first string names the program.");
  if (args.has("command")) {
    if (command.find_first_not_of(" \t\r\n") == std::string::npos)
      throw bad_argument("/command", "the command is blank", "Give a shell command, or a program in argv.");
    return {shell, "-c", command};
  }
  if (kind == process_kind::terminal) return {shell, "-i"};
  throw bad_argument("/argv", "neither argv nor command is given", "Give argv (a program) or command (for the shell).");
}

}  // namespace

std::string random_name(const char* prefix) {
  unsigned char bytes[16];  // an id is a key: who does not have it cannot guess it
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) ::abort();
  static constexpr char hex[] = "0123456789abcdef";
  std::string name(prefix);
  for (const unsigned char b : bytes) {
    name += hex[b >> 4];
    name += hex[b & 15];
  }
  return name;
}

process_table::process_table(loop& l, const tree& files, std::map<std::string, std::string> base_env, reaping how)
    : loop_(l), files_(files), base_env_(std::move(base_env)), reaping_(how) {}

process_table::~process_table() = default;

process_table::launch process_table::prepare(const arguments& args, process_kind kind) {
  if (running() >= max_running)
    throw failed("limit_exceeded", "too_many_processes", "the agent runs 4096 processes already", "End some of them.");
  launch made;
  made.plan.argv = command_line(args, kind);
  std::map<std::string, std::string> env = base_env_;
  if (kind == process_kind::terminal) env["TERM"] = args.text("term", "xterm-256color");
  if (args.has("user")) {
    made.plan.run_as = find_user(args.text("user"));
    env["HOME"] = made.plan.run_as->home;
    env["USER"] = env["LOGNAME"] =
        made.plan.run_as->name.empty() ? std::to_string(made.plan.run_as->uid) : made.plan.run_as->name;
  }
  const json& wanted = args.object("env");
  for (const auto& [name, value] : wanted.items()) {
    if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos)
      throw bad_argument("/env", "\"" + name + "\" cannot be the name of an environment variable");
    if (value.is_null()) {
      env.erase(name);
    } else if (value.is_string() && value.get_ref<const std::string&>().find('\0') == std::string::npos) {
      env[name] = value.get<std::string>();
    } else {
      throw bad_argument("/env/" + name, "the value is not a string without NUL bytes");
    }
  }
  for (const auto& [name, value] : env) made.plan.env.push_back(name + "=" + value);
  const auto path = env.find("PATH");
  made.plan.path = path == env.end() ? "/usr/local/bin:/usr/bin:/bin" : path->second;
  const std::string cwd = args.path("cwd", files_.folder());
  made.plan.cwd = files_.open(cwd, O_PATH | O_DIRECTORY);
  made.plan.cookie = new_cookie();
  made.plan.group = group_;
  made.about.id = random_name("p-");
  made.about.kind = kind;
  made.about.argv = made.plan.argv;
  made.about.cwd = files_.shown(cwd);
  made.about.tag = args.text("tag", {});
  made.about.env = wanted;
  return made;
}

std::shared_ptr<process> process_table::start_exec(const arguments& args) {
  launch made = prepare(args, process_kind::pipes);
  fd child_in, ours_in;
  if (args.flag("stdin", false)) {
    pipe_ends p = make_pipe();
    child_in = std::move(p.read);
    ours_in = std::move(p.write);
    unblock(ours_in);
  } else {
    child_in = fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!child_in) throw os_failure(errno, "open /dev/null");
  }
  pipe_ends out = make_pipe(), err = make_pipe();
  unblock(out.read);
  unblock(err.read);
  made.plan.input = child_in.get();
  made.plan.output = out.write.get();
  made.plan.error = err.write.get();
  return enter(std::move(made), std::move(ours_in), std::move(out.read), std::move(err.read), args);
}

std::shared_ptr<process> process_table::start_pty(const arguments& args) {
  launch made = prepare(args, process_kind::terminal);
  const int columns = static_cast<int>(args.number("cols", 1, 10000, 80));
  const int rows = static_cast<int>(args.number("rows", 1, 10000, 24));
  terminal_pair pair = open_terminal(columns, rows, made.plan.run_as ? static_cast<int>(made.plan.run_as->uid) : -1);
  made.plan.tty = spawn_plan::terminal::controlling;
  made.plan.input = made.plan.output = made.plan.error = pair.user_side.get();
  fd input(::fcntl(pair.master.get(), F_DUPFD_CLOEXEC, 3));
  return enter(std::move(made), std::move(input), std::move(pair.master), fd(), args);
}

std::shared_ptr<process> process_table::enter(launch made, fd input, fd output, fd error, const arguments& args) {
  const std::int64_t timeout = args.number("timeout_ms", 1, longest_timeout_ms, 0);
  spawned started = spawn(made.plan);
  auto entered = std::make_shared<process>(loop_, std::move(made.about), std::move(started), made.plan.cookie,
                                           std::move(input), std::move(output), std::move(error));
  processes_[entered->about().id] = entered;
  entered->on_finished([this](process& p) { finished(p); });
  if (timeout > 0) entered->kill_after(std::chrono::milliseconds(timeout));
  return entered;
}

std::shared_ptr<process> process_table::find(const std::string& id_or_tag) const {
  const auto it = processes_.find(id_or_tag);
  if (it != processes_.end()) return it->second;
  for (const auto& [id, p] : processes_)
    if (!id_or_tag.empty() && p->about().tag == id_or_tag && !p->reaped()) return p;
  throw failed("not_found", "process_not_found", "there is no process \"" + id_or_tag + "\"",
               "process.list names those there are; a finished one is kept for a while only.", "/id");
}

json process_table::list() const {
  json rows = json::array();
  for (const auto& [id, p] : processes_) rows.push_back(p->summary());
  json value = json::object();
  value["processes"] = std::move(rows);
  return value;
}

process_table::waiter_id process_table::wait(const std::shared_ptr<process>& which, std::function<void(json)> done) {
  if (which->finished()) {
    done(which->summary());
    return 0;
  }
  waiters_.push_back(waiter{++last_waiter_, which->about().id, std::move(done)});
  return last_waiter_;
}

void process_table::forget_waiter(waiter_id id) {
  std::erase_if(waiters_, [id](const waiter& w) { return w.id == id; });
}

void process_table::finished(process& which) {
  const std::string id = which.about().id;
  finished_order_.push_back(id);
  std::vector<waiter> due;
  for (auto it = waiters_.begin(); it != waiters_.end();)
    if (it->process_id == id) {
      due.push_back(std::move(*it));
      it = waiters_.erase(it);
    } else {
      ++it;
    }
  for (waiter& w : due) w.done(which.summary());
  if (on_exit_) on_exit_(which);
  // Not from inside the process's own call.
  loop_.post([this] { evict(); });
}

void process_table::forget_finished() {
  for (const std::string& id : finished_order_) processes_.erase(id);
  finished_order_.clear();
}

void process_table::evict() {
  std::size_t bytes = 0;
  for (const std::string& id : finished_order_)
    bytes += static_cast<std::size_t>(processes_[id]->log().end() - processes_[id]->log().begin());
  for (auto it = finished_order_.begin(); it != finished_order_.end();) {
    if (finished_order_.size() <= max_finished && bytes <= max_finished_bytes) return;
    const auto& p = processes_[*it];
    // One whose output a background child still holds stays: closing the pipe would kill that child.
    if (p->busy() && finished_order_.size() < max_running) {
      ++it;
      continue;
    }
    bytes -= static_cast<std::size_t>(p->log().end() - p->log().begin());
    processes_.erase(*it);
    it = finished_order_.erase(it);
  }
}

void process_table::reap() {
  const auto tell = [this](pid_t pid, int status, const rusage& usage) {
    for (const auto& [id, p] : processes_)
      if (p->pid() == pid && !p->reaped()) {
        const auto keep = p;
        keep->reaped(status, usage);
        return;
      }
  };
  int status = 0;
  rusage usage{};
  if (reaping_ == reaping::everything) {
    for (pid_t pid = 0; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) tell(pid, status, usage);
    return;
  }
  std::vector<pid_t> alive;
  for (const auto& [id, p] : processes_)
    if (!p->reaped()) alive.push_back(p->pid());
  for (const pid_t pid : alive)
    if (::wait4(pid, &status, WNOHANG, &usage) == pid) tell(pid, status, usage);
}

void process_table::signal_all(int signal) {
  for (const auto& [id, p] : processes_) {
    if (p->reaped() && signal != SIGKILL) continue;
    signal_tree(p->reaped() ? 0 : p->pid(), p->cookie(), signal);
  }
}

std::size_t process_table::running() const {
  return static_cast<std::size_t>(
      std::count_if(processes_.begin(), processes_.end(), [](const auto& row) { return !row.second->reaped(); }));
}

}  // namespace caged::agent
