// caged-agent: the first process of a box, or a standalone helper beside a workspace.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guest/guest.hpp"
#include "handover.hpp"
#include "options.hpp"
#include "server.hpp"
#include "standalone.hpp"

namespace caged::agent {
namespace {

using namespace std::chrono_literals;

int complain(const std::string& message) {
  const std::string line = "caged-agent: " + message + "\n";
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
  return 2;
}

// 0, 1 and 2 must be something, or the next file opened would become a workload's stdout.
void hold_standard_descriptors() {
  for (int i = 0; i < 3; ++i)
    if (::fcntl(i, F_GETFD) < 0) [[maybe_unused]]
      const int taken = ::open("/dev/null", O_RDWR);
}

// Workloads of the same user could otherwise attach to this process or read its memory.
void guard_self() {
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::umask(0);  // modes of files are given exactly; workloads start with 022
  ::syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
}

std::map<std::string, std::string> workload_environment(int env_fd) {
  std::map<std::string, std::string> env{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                         {"HOME", ::getuid() == 0 ? "/root" : "/"},
                                         {"LANG", "C.UTF-8"},
                                         {"TERM", "xterm-256color"}};
  if (env_fd < 0) return env;
  const fd source(env_fd);
  std::string text;
  char piece[4096];
  for (ssize_t n = 0; (n = ::read(source.get(), piece, sizeof piece)) > 0 && text.size() < wire::max_message;)
    text.append(piece, static_cast<std::size_t>(n));
  const auto value = wire::parse(text);
  if (!value || !value->is_object()) throw bad_argument("", "--env-fd does not hold a JSON object");
  for (const auto& [name, entry] : value->items()) {
    if (!entry.is_string() || name.empty() || name.find('=') != std::string::npos)
      throw bad_argument("", "--env-fd: " + name + " is not a string variable");
    env[name] = entry.get<std::string>();
  }
  return env;
}

fd block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

void announce_ready(int ready_fd) {
  if (ready_fd < 0) return;
  const fd ready(ready_fd);
  [[maybe_unused]] const auto n = ::write(ready.get(), "1", 1);
}

int run_for_backend(const options& o) {
  server_options so;
  so.workspace = o.workspace;
  so.base_env = workload_environment(o.env_fd);
  so.heartbeat_interval = o.heartbeat_interval;
  so.metrics_interval = o.metrics_interval;
  loop events;
  server agent(events, std::move(so));
  const fd signals = block_signals();
  events.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
    signalfd_siginfo info{};
    bool child = false;
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD)
        child = true;
      else if (info.ssi_signo != SIGHUP)
        agent.shut_down(5s);
    }
    if (child) agent.on_child_signal();
  });
  ::fcntl(o.listen_fd, F_SETFL, ::fcntl(o.listen_fd, F_GETFL) | O_NONBLOCK);
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(o.listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening == 1)
    agent.listen(fd(o.listen_fd));
  else
    agent.serve(fd(o.listen_fd));  // a connected stream: socketpair, virtio-serial
  announce_ready(o.ready_fd);
  events.run();
  return 0;
}

int run(int argc, char** argv) {
  hold_standard_descriptors();
  options o = read_options(argc, argv);
  if (!o.error.empty()) return complain(o.error + ". --help lists the flags.");
  if (o.help) return std::fputs(usage(), stdout) < 0;
  if (o.version) return std::puts("caged-agent " CAGED_VERSION) < 0;
  set_log_level(o.level);
  guard_self();
  try {
    if (o.guest) run_guest(o, block_signals(), workload_environment(-1));
    if (!o.handover.empty()) {
      handed_over given = take_handover(o.handover);
      o.listen_fd = given.listen.release();
      o.ready_fd = given.ready.release();
      o.env_fd = given.env.release();
    }
    return o.listen_fd >= 0 ? run_for_backend(o) : run_standalone(o, block_signals());
  } catch (const std::exception& e) {
    return complain(e.what());
  }
}

}  // namespace
}  // namespace caged::agent

// The library's own handler brings 60 KiB of name demangling with it, to print what no one reads.
namespace __gnu_cxx {
void __verbose_terminate_handler() { ::abort(); }
}  // namespace __gnu_cxx

int main(int argc, char** argv) { return caged::agent::run(argc, argv); }
