#include "exec/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#include <algorithm>
#include <cerrno>

#include "exec/kill_tree.hpp"
#include "proc_fs.hpp"

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

// A background child may hold a finished process's output open for ever; what it writes right away still counts.
constexpr auto exit_grace = 50ms;
constexpr std::size_t read_piece = 64u << 10;
constexpr int pipe_reads_per_turn = 4;

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::uint64_t oom_kills() {
  const std::string text = read_small("/sys/fs/cgroup/memory.events", 4096);
  const std::size_t at = text.find("oom_kill ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 9, nullptr, 10);
}

std::uint64_t& seen_oom_kills() {
  static std::uint64_t seen = oom_kills();
  return seen;
}

std::int64_t to_ms(const timeval& t) { return std::int64_t{t.tv_sec} * 1000 + t.tv_usec / 1000; }

}  // namespace

process::process(loop& l, description about, spawned started, std::uint64_t cookie, fd input, fd output, fd error)
    : loop_(l),
      about_(std::move(about)),
      started_(std::move(started)),
      cookie_(cookie),
      input_(std::move(input)),
      output_(std::move(output)),
      error_(std::move(error)),
      stdin_open_(static_cast<bool>(input_)),
      began_(steady::now()),
      began_unix_ms_(unix_ms()) {
  seen_oom_kills();
  if (output_) watch(output_);
  if (error_) watch(error_);
}

process::~process() {
  loop_.cancel(timeout_);
  loop_.cancel(grace_);
  close_pipes();
}

void process::watch(fd& which) {
  loop_.add(which.get(), EPOLLIN, [this](std::uint32_t) {
    const auto keep = shared_from_this();
    pump();
  });
}

std::uint64_t process::keep_from() const noexcept {
  std::uint64_t from = log_.end();
  for (const process_reader* reader : readers_) from = std::min(from, reader->position());
  return from;
}

process::drained process::read_some(fd& from, output_stream stream) {
  if (!from) return drained::closed;
  static char piece[read_piece];
  for (int i = 0; i < pipe_reads_per_turn; ++i) {
    const std::size_t room = finished() ? read_piece : std::min(log_.room(keep_from()), read_piece);
    if (room == 0) return drained::full;
    const ssize_t n = ::read(from.get(), piece, room);
    if (n > 0) {
      // After the end a background child may still write: it must neither block nor die of it, but nobody is told.
      if (!finished()) log_.append(stream, std::string_view(piece, static_cast<std::size_t>(n)));
      continue;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return drained::empty;
    // 0 is the end of a pipe, EIO that of a terminal whose last user has gone.
    close_output(from);
    return drained::closed;
  }
  return drained::full;
}

process::drained process::drain() {
  const drained out = read_some(output_, output_stream::out);
  const drained err = read_some(error_, output_stream::err);
  if (out == drained::closed && err == drained::closed) return drained::closed;
  return out == drained::full || err == drained::full ? drained::full : drained::empty;
}

void process::pump() {
  const drained state = drain();
  tell_readers();
  if (reaped() && !finished() && state == drained::closed) finish();
  // Level-triggered: a pipe nobody has room for must not wake the loop for nothing.
  const bool pause = !finished() && log_.room(keep_from()) == 0;
  if (output_ && pause != output_paused_) loop_.change(output_.get(), pause ? 0u : static_cast<unsigned>(EPOLLIN));
  if (error_ && pause != error_paused_) loop_.change(error_.get(), pause ? 0u : static_cast<unsigned>(EPOLLIN));
  output_paused_ = error_paused_ = pause;
}

void process::tell_readers() {
  const auto readers = readers_;
  for (process_reader* reader : readers)
    if (std::find(readers_.begin(), readers_.end(), reader) != readers_.end()) reader->output_ready();
}

void process::reaped(int status, const rusage& usage) {
  end_ = process_end{status, usage, steady::now()};
  loop_.cancel(timeout_);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !killed_by_us_) {
    const std::uint64_t now = oom_kills();
    out_of_memory_ = now > seen_oom_kills();
    seen_oom_kills() = now;
  }
  drop_stdin();
  const auto keep = shared_from_this();
  pump();
  if (!finished()) grace_ = loop_.after(exit_grace, [this] { drain_after_exit(); });
}

void process::drain_after_exit() {
  const auto keep = shared_from_this();
  if (finished()) return;
  const drained state = drain();
  tell_readers();
  // Full: a slow reader, or a child that never stops writing. What the dead process wrote comes first in the pipe; it
  // is all read once the pipe was empty, or once a whole pipe's worth was read after its end.
  if (state != drained::full) return finish();
  const bool stalled = log_.room(keep_from()) == 0;
  const bool plenty = !stalled && steady::now() - end_->at > 1s;
  if (plenty) return finish();
  grace_ = loop_.after(stalled ? exit_grace : 1ms, [this] { drain_after_exit(); });
}

void process::finish() {
  if (finished()) return;
  finished_at_ = log_.end();
  loop_.cancel(grace_);
  if (output_paused_ && output_) loop_.change(output_.get(), EPOLLIN);
  if (error_paused_ && error_) loop_.change(error_.get(), EPOLLIN);
  output_paused_ = error_paused_ = false;
  if (about_.kind == process_kind::terminal) input_.reset();
  tell_readers();
  if (on_finished_) on_finished_(*this);
}

void process::close_output(fd& which) {
  if (!which) return;
  loop_.remove(which.get());
  which.reset();
}

void process::close_pipes() {
  drop_stdin();
  close_output(output_);
  close_output(error_);
}

void process::attach(process_reader* reader) { readers_.push_back(reader); }

void process::detach(process_reader* reader) {
  std::erase(readers_, reader);
  for (chunk& c : stdin_queue_)
    if (c.from == reader) c.from = nullptr;
  pump();
}

void process::write_stdin(process_reader* from, std::string bytes) {
  if (!stdin_open_ || stdin_ending_) {
    if (from != nullptr) from->stdin_taken(bytes.size());
    return;
  }
  stdin_queue_.push_back(chunk{from, std::move(bytes)});
  flush_stdin();
}

void process::close_stdin() {
  if (!stdin_open_) return;
  if (about_.kind == process_kind::terminal) return write_stdin(nullptr, "\x04");
  stdin_ending_ = true;
  flush_stdin();
}

void process::flush_stdin() {
  while (!stdin_queue_.empty()) {
    chunk& c = stdin_queue_.front();
    const ssize_t n = ::write(input_.get(), c.bytes.data() + c.done, c.bytes.size() - c.done);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n < 0) return drop_stdin();  // EPIPE: the process does not read any more
    c.done += static_cast<std::size_t>(n);
    process_reader* from = c.from;
    if (c.done == c.bytes.size()) stdin_queue_.pop_front();
    if (from != nullptr) from->stdin_taken(static_cast<std::size_t>(n));
  }
  if (stdin_queue_.empty() && stdin_ending_) return drop_stdin();
  const bool want = !stdin_queue_.empty();
  if (want == stdin_watched_) return;
  stdin_watched_ = want;
  if (want) {
    const auto handler = [this](std::uint32_t) {
      const auto keep = shared_from_this();
      flush_stdin();
    };
    loop_.add(input_.get(), EPOLLOUT, handler);
  } else {
    loop_.remove(input_.get());
  }
}

void process::drop_stdin() {
  if (!stdin_open_) return;
  stdin_open_ = false;
  if (stdin_watched_) loop_.remove(input_.get());
  stdin_watched_ = false;
  input_.reset();
  // What was queued is gone; its senders must not wait for room for ever.
  auto queue = std::move(stdin_queue_);
  stdin_queue_.clear();
  for (const chunk& c : queue)
    if (c.from != nullptr) c.from->stdin_taken(c.bytes.size() - c.done);
}

bool process::resize(int columns, int rows) {
  if (about_.kind != process_kind::terminal) return false;
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  if (output_) ::ioctl(output_.get(), TIOCSWINSZ, &size);
  return true;
}

void process::kill_after(std::chrono::milliseconds timeout) {
  timeout_ = loop_.after(timeout, [this] {
    timed_out_ = true;
    killed_by_us_ = true;
    signal_tree(pid(), cookie_, SIGKILL);
  });
}

void process::signal(int number) {
  if (number == SIGKILL) killed_by_us_ = true;
  if (number == SIGKILL || reaped()) {
    const pid_t root = reaped() ? 0 : pid();
    if (reaped() && tree_members(0, cookie_).empty())
      throw failed("conflict", "process_finished", "the process has ended and left nothing behind",
                   "Ask process.get for how it ended.");
    return signal_tree(root, cookie_, number);
  }
  // The group of a terminal's foreground job is what ^C would reach; the leader's own group comes otherwise.
  pid_t group = pid();
  if (about_.kind == process_kind::terminal && output_) {
    const pid_t foreground = ::tcgetpgrp(output_.get());
    if (foreground > 1 && number == SIGINT) group = foreground;
  }
  if (::kill(-group, number) != 0 && ::kill(pid(), number) != 0)
    throw os_failure(errno, "signal process " + std::to_string(pid()));
}

json process::exit_json(std::uint64_t dropped) const {
  json value{{"timed_out", timed_out_}, {"out_of_memory", out_of_memory_}, {"dropped_bytes", dropped}};
  const int status = end_->status;
  value["exit_code"] = WIFEXITED(status) ? json(WEXITSTATUS(status)) : json(nullptr);
  value["signal"] = WIFSIGNALED(status) ? json(signal_name(WTERMSIG(status))) : json(nullptr);
  value["duration_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(end_->at - began_).count();
  value["user_ms"] = to_ms(end_->usage.ru_utime);
  value["system_ms"] = to_ms(end_->usage.ru_stime);
  value["max_rss_kb"] = end_->usage.ru_maxrss;
  return value;
}

json process::summary() const {
  json value{{"id", about_.id}, {"pid", pid()}, {"started_unix_ms", began_unix_ms_}};
  value["kind"] = about_.kind == process_kind::terminal ? "pty" : "exec";
  value["argv"] = about_.argv;
  value["cwd"] = about_.cwd;
  value["env"] = about_.env;
  if (!about_.tag.empty()) value["tag"] = about_.tag;
  value["stdin"] = stdin_open_;
  value["readers"] = readers_.size();
  value["output_bytes"] = log_.end();
  value["dropped_bytes"] = log_.begin();
  value["running"] = !reaped();
  if (finished()) value["exit"] = exit_json(log_.begin());
  return value;
}

namespace {

struct signal_row {
  int number;
  const char* name;
};
constexpr signal_row signals[] = {
    {SIGHUP, "HUP"},   {SIGINT, "INT"},     {SIGQUIT, "QUIT"}, {SIGILL, "ILL"},   {SIGTRAP, "TRAP"},
    {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},     {SIGFPE, "FPE"},   {SIGKILL, "KILL"}, {SIGUSR1, "USR1"},
    {SIGSEGV, "SEGV"}, {SIGUSR2, "USR2"},   {SIGPIPE, "PIPE"}, {SIGALRM, "ALRM"}, {SIGTERM, "TERM"},
    {SIGCHLD, "CHLD"}, {SIGCONT, "CONT"},   {SIGSTOP, "STOP"}, {SIGTSTP, "TSTP"}, {SIGTTIN, "TTIN"},
    {SIGTTOU, "TTOU"}, {SIGURG, "URG"},     {SIGXCPU, "XCPU"}, {SIGXFSZ, "XFSZ"}, {SIGVTALRM, "VTALRM"},
    {SIGPROF, "PROF"}, {SIGWINCH, "WINCH"}, {SIGIO, "IO"},     {SIGPWR, "PWR"},   {SIGSYS, "SYS"},
};

}  // namespace

std::string signal_name(int number) {
  for (const signal_row& row : signals)
    if (row.number == number) return std::string("SIG") + row.name;
  return "SIG" + std::to_string(number);
}

int signal_number(std::string_view name) {
  if (!name.empty() && name.size() <= 2 && name.find_first_not_of("0123456789") == std::string_view::npos) {
    const int number = std::atoi(std::string(name).c_str());
    return number >= 1 && number <= 64 ? number : 0;
  }
  if (name.rfind("SIG", 0) == 0) name.remove_prefix(3);
  for (const signal_row& row : signals)
    if (name == row.name) return row.number;
  return 0;
}

}  // namespace caged::agent
