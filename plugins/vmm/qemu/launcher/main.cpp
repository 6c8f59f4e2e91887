// Starts one confined QEMU and stays as its relay: a machine outlives the host that made it, and ends with its relay.
#include "launcher/confine.hpp"
#include "launcher/numbers.hpp"
#include "launcher/relay.hpp"

#include <caged/wire/message.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace caged::vmm::qemu {
namespace {

struct spec {
  std::vector<std::string> argv;
  walls around;
};

spec read_spec() {
  std::string text;
  char piece[4096];
  for (ssize_t n = 0; (n = ::pread(fd_spec, piece, sizeof piece, static_cast<off_t>(text.size()))) > 0;)
    text.append(piece, static_cast<std::size_t>(n));
  const auto value = wire::parse(text);
  if (!value) throw std::runtime_error("the launch specification is not JSON");
  spec out;
  out.argv = value->at("argv").get<std::vector<std::string>>();
  out.around.uid = value->at("uid").get<std::uint32_t>();
  out.around.largest_file = value->at("fsize").get<std::uint64_t>();
  out.around.address_space = value->at("space").get<std::uint64_t>();
  for (const auto& row : value->at("root"))
    out.around.root.push_back({row.at("from").get<std::string>(), row.at("to").get<std::string>(),
                               row.value("write", false), row.value("device", false)});
  return out;
}

void report(const std::string& text) {
  [[maybe_unused]] const auto n = ::write(fd_report, text.data(), text.size());
}

[[noreturn]] void become_machine(const spec& s, int log) {
  try {
    confine_machine(s.around);
    // After the change of user, which clears it.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    std::vector<char*> argv;
    for (const std::string& word : s.argv) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    char door[] = "LD_PRELOAD=/caged-qemu-memory.so";
    char* environment[] = {door, nullptr};
    ::dup2(log, 2);
    for (int fd = fd_port; fd < fd_after; ++fd) ::fcntl(fd, F_SETFD, 0);
    for (const int fd : {fd_spec, fd_end, fd_agent, fd_control}) ::close(fd);
    ::fcntl(fd_report, F_SETFD, FD_CLOEXEC);
    ::execve(argv[0], argv.data(), environment);
    throw std::runtime_error(std::string("start QEMU: ") + std::strerror(errno));
  } catch (const std::exception& e) {
    report(e.what());
  }
  ::_exit(1);
}

void write_end(pid_t machine, const std::string& log) {
  int status = 0;
  ::kill(machine, SIGKILL);  // a machine that broke the port's rules; one that has ended does not mind
  while (::waitpid(machine, &status, 0) < 0 && errno == EINTR) {
  }
  std::string text = WIFEXITED(status) ? "exited " + std::to_string(WEXITSTATUS(status))
                                             : "killed " + std::to_string(WTERMSIG(status));
  text += "\n" + log;
  [[maybe_unused]] const auto n = ::pwrite(fd_end, text.data(), text.size(), 0);
}

int stay(const spec& s) {
  int port[2], log[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port) != 0 || ::dup2(port[1], fd_port) < 0) return 1;
  if (::pipe2(log, O_CLOEXEC) != 0) return 1;
  ::close(port[1]);
  // Without privilege the namespaces of QEMU's own user come later, and Landlock keeps its signals in.
  if (::geteuid() == 0 && ::unshare(CLONE_NEWPID) != 0) return report("make a PID namespace"), 1;
  const pid_t machine = ::fork();
  if (machine == 0) become_machine(s, log[1]);
  ::close(log[1]);
  if (machine < 0) return report("fork: out of processes"), 1;
  const int watched = static_cast<int>(::syscall(SYS_pidfd_open, machine, 0));
  for (int fd = fd_port; fd < fd_after; ++fd) ::close(fd);
  std::string said;
  try {
    confine_relay(s.around);
    ::fcntl(fd_report, F_SETFD, FD_CLOEXEC);
    report("ok " + std::to_string(::getpid()) + " " + std::to_string(machine));
    ::close(fd_report);
    said = run_relay({port[0], fd_agent, fd_control, watched, log[0]});
  } catch (const std::exception& e) {
    report(e.what());
  }
  write_end(machine, said);
  return 0;
}

int run() {
  ::signal(SIGPIPE, SIG_IGN);
  spec s;
  try {
    s = read_spec();
  } catch (const std::exception& e) {
    report(e.what());
    return 1;
  }
  // The host waits for this process only; the one that stays has no parent to leave a corpse to.
  const pid_t staying = ::fork();
  if (staying != 0) return staying < 0;
  return stay(s);
}

}  // namespace
}  // namespace caged::vmm::qemu

int main() { return caged::vmm::qemu::run(); }
