#include "core/runtime/subprocess.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>

#include "core/runtime/loop.hpp"

namespace caged::runtime {
namespace {

class file {
 public:
  explicit file(int fd = -1) : fd_(fd) {}
  file(file&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  file& operator=(file&& o) noexcept {
    reset();
    fd_ = std::exchange(o.fd_, -1);
    return *this;
  }
  ~file() { reset(); }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

struct child {
  pid_t pid = -1;
  file out, err;
};

// posix_spawn uses vfork semantics, so a large server starts a program as fast as a small one.
result<child> start(const program& p) {
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  file out_read(out[0]), out_write(out[1]);
  if (pipe2(err, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  file err_read(err[0]), err_write(err[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err_write.get(), 2);
  if (!p.directory.empty()) posix_spawn_file_actions_addchdir_np(&actions, p.directory.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> env_text;
  auto env = p.env;
  env.try_emplace("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  for (const auto& [k, v] : env) env_text.push_back(k + "=" + v);
  std::vector<char*> argv, envp;
  for (const auto& a : p.argv) argv.push_back(const_cast<char*>(a.c_str()));
  for (const auto& e : env_text) envp.push_back(const_cast<char*>(e.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  child c;
  const int failed = posix_spawnp(&c.pid, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) return errno_error(failed, "start " + p.argv[0], "Install the program, or look at PATH.");
  c.out = std::move(out_read);
  c.err = std::move(err_read);
  return c;
}

int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

int reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return exit_code_of(status);
}

void keep_tail(std::string& text, std::size_t limit) {
  if (text.size() > limit) text.erase(0, text.size() - limit);
}

// Bytes of a program's stdout; its stderr is drained into a bounded tail so that it never stalls.
class program_source : public byte_source {
 public:
  program_source(asio::any_io_executor executor, asio::any_io_executor pool, std::string name, child c)
      : pool_(std::move(pool)),
        name_(std::move(name)),
        pid_(c.pid),
        out_(executor, c.out.release()),
        err_(std::move(c.err)) {
    fcntl(err_.get(), F_SETFL, O_NONBLOCK);
  }
  ~program_source() override {
    if (pid_ > 0) {
      kill(-pid_, SIGKILL);
      reap(pid_);  // killed just now: ends at once
    }
  }

  task<std::string> read() override {
    if (pid_ <= 0) co_return std::string();
    std::string piece(256 * 1024, '\0');
    auto [ec, n] = co_await out_.async_read_some(asio::buffer(piece), use_tuple);
    drain_errors();
    if (!ec) {
      piece.resize(n);
      co_return piece;
    }
    if (ec == asio::error::operation_aborted)
      co_return fail(errc::cancelled, "cancelled", "reading from " + name_ + " was cancelled");
    const pid_t pid = std::exchange(pid_, -1);
    auto waiting = [pid] { return reap(pid); };
    const int code = co_await on_pool(pool_, std::move(waiting));
    drain_errors();
    if (code != 0)
      co_return fail(errc::unavailable, "program_failed",
                     name_ + " ended with exit code " + std::to_string(code) + ": " + errors_,
                     "Look at the text for the cause.");
    co_return std::string();
  }

 private:
  void drain_errors() {
    char buffer[4096];
    for (ssize_t n; (n = ::read(err_.get(), buffer, sizeof buffer)) > 0;)
      errors_.append(buffer, static_cast<std::size_t>(n));
    keep_tail(errors_, 4096);
  }
  asio::any_io_executor pool_;
  std::string name_;
  pid_t pid_;
  asio::posix::stream_descriptor out_;
  file err_;
  std::string errors_;
};

}  // namespace

result<program_result> run_program(const program& p) {
  auto started = start(p);
  if (!started) return started.error();
  child& c = *started;
  program_result r;
  const auto end = std::chrono::steady_clock::now() + p.limit;
  bool late = false;
  pollfd fds[2] = {{c.out.get(), POLLIN, 0}, {c.err.get(), POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) {
      late = true;
      break;
    }
    if (poll(fds, 2, static_cast<int>(std::min<long long>(left, 1000))) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t n = ::read(fds[i].fd, buffer, sizeof buffer);
      if (n <= 0) {
        fds[i].fd = -1;
      } else if (i == 0) {
        if (r.output.size() < 1024 * 1024) r.output.append(buffer, static_cast<std::size_t>(n));
      } else {
        r.errors.append(buffer, static_cast<std::size_t>(n));
        keep_tail(r.errors, 64 * 1024);
      }
    }
  }
  if (late) kill(-c.pid, SIGKILL);
  r.exit_code = reap(c.pid);
  if (late)
    return fail(errc::deadline_exceeded, "program_too_slow",
                p.argv[0] + " did not finish within " + std::to_string(p.limit.count()) + " s and was killed",
                "Try again, or raise the limit.");
  return r;
}

result<std::shared_ptr<byte_source>> open_program(asio::any_io_executor executor, asio::any_io_executor pool,
                                                  program p) {
  auto started = start(p);
  if (!started) return started.error();
  return std::shared_ptr<byte_source>(
      std::make_shared<program_source>(std::move(executor), std::move(pool), p.argv[0], std::move(*started)));
}

}  // namespace caged::runtime
