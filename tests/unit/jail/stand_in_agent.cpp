// A first process for boxes in the jail's own tests: runs what a connection sends through `sh -c` and sends back the
// output, a record separator and the wait status. The jail is tested with it, not the agent.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

void serve(int connection) {
  std::string command;
  char piece[4096];
  for (ssize_t n = 0; (n = ::read(connection, piece, sizeof piece)) > 0;)
    command.append(piece, static_cast<std::size_t>(n));
  ::signal(SIGCHLD, SIG_DFL);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(connection, 1);
    ::dup2(connection, 2);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  const std::string end = "\x1e" + std::to_string(status);
  (void)!::write(connection, end.data(), end.size());
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  int listening = -1, ready = -1, env = -1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--listen-fd") listening = std::atoi(argv[i + 1]);
    if (name == "--ready-fd") ready = std::atoi(argv[i + 1]);
    if (name == "--env-fd") env = std::atoi(argv[i + 1]);
    if (name == "--workspace" && ::chdir(argv[i + 1]) != 0) return 3;
  }
  if (listening < 0 || ready < 0 || env < 0) return 2;
  char text[4096] = {};
  // The environment file tells this agent to misbehave where a test wants that.
  if (::read(env, text, sizeof text - 1) > 0 && std::strstr(text, "\"STAND_IN\":\"die\"") != nullptr) return 42;
  if (std::strstr(text, "\"STAND_IN\":\"hang\"") != nullptr) ::pause();
  ::signal(SIGCHLD, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  ::fcntl(listening, F_SETFD, FD_CLOEXEC);
  if (::write(ready, "r", 1) != 1) return 4;
  ::close(ready);
  for (;;) {
    const int connection = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    if (::fork() == 0) serve(connection);
    ::close(connection);
  }
}
