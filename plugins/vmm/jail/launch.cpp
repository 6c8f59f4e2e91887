#include "launch.hpp"

#include "launcher/descriptor_message.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <cerrno>
#include <cstring>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
constexpr int step_deadline_ms = 10'000;

error launcher_error(const std::string& what) {
  return fail(errc::internal, "launcher_failed", "the jail's launcher " + what,
              "Look at the host's log; `caged doctor` shows what this machine lacks.");
}

// Joins the launcher at scope end: kills it if it still runs, so that no path leaves a zombie.
class launcher_process {
 public:
  explicit launcher_process(pid_t pid) : pid_(pid) {}
  launcher_process(const launcher_process&) = delete;
  launcher_process& operator=(const launcher_process&) = delete;
  ~launcher_process() {
    if (!finished_) ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  void finished() noexcept { finished_ = true; }

 private:
  pid_t pid_;
  bool finished_ = false;
};

// posix_spawn shares memory until the exec: the size of this process does not matter.
result<pid_t> spawn(const std::filesystem::path& program, int control) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, control, control_fd);  // also when equal: clears close-on-exec
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 2);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, control_fd + 1);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::string name = program.string();
  char* argv[] = {name.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = -1;
  const int err = ::posix_spawn(&pid, name.c_str(), &actions, &attributes, argv, environment);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (err != 0)
    return errno_error(err, "start " + name, "Reinstall Caged: the program caged-jail-launcher belongs beside caged.");
  return pid;
}

result<void> send_request(int control, const std::string& text, const handed_numbers& fds) {
  if (text.size() > message_limit)
    return fail(errc::too_large, "launch_spec_too_large", "the sandbox's launch specification is too large",
                "Shorten the list of layers.");
  iovec piece{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof fds);
  if (::sendmsg(control, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    return errno_error(errno, "send the launch specification");
  return {};
}

result<std::string> receive(int control, unique_fd& handed) {
  pollfd ready{control, POLLIN, 0};
  int rc = 0;
  do rc = ::poll(&ready, 1, step_deadline_ms);
  while (rc < 0 && errno == EINTR);
  if (rc == 0)
    return fail(errc::deadline_exceeded, "launcher_timeout", "the jail's launcher did not answer in time",
                "Try again; the machine may be overloaded.");
  std::string text(message_limit, '\0');
  const ssize_t n = receive_with_descriptor(control, text.data(), text.size(), handed);
  if (n < 0) return errno_error(errno, "read the launcher's answer");
  if (n == 0) return launcher_error("ended without an answer");
  text.resize(static_cast<std::size_t>(n));
  return text;
}

// "failed wall step errno".
error step_error(message_reader& in) {
  const std::string wall = in.word(), step = in.word();
  const int err = static_cast<int>(in.number());
  error e = errno_error(err, "the jail's wall " + wall + " cannot be built: " + step);
  e.reason = "wall_missing";
  e.code = e.code == errc::insufficient_storage || e.code == errc::limit_exceeded ? e.code : errc::unsupported;
  e.action = "`caged doctor` shows what this machine lacks and how to get it.";
  if (wall == "landlock" || wall == "evidence.exec")
    e.action += " Or accept its absence: plugins.vmm.jail.accept_missing: [\"" + wall + "\"].";
  return e;
}

result<void> read_outcome(const std::string& text, launched& out) {
  message_reader in(text);
  while (in.ok() && !in.at_end()) {
    const std::string word = in.word();
    if (word == "ok") return {};
    if (word == "missing") {
      out.missing.push_back(in.word());
      in.word();
      in.number();
      continue;
    }
    if (word == "failed") return step_error(in);
    break;
  }
  return launcher_error("gave an answer that cannot be read");
}

}  // namespace

result<launched> launch(const std::filesystem::path& launcher, const launch_spec& spec, const handed_numbers& fds,
                        const std::function<result<void>(const process_identity&)>& on_process) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "make the launcher's control socket");
  unique_fd ours(ends[0]), theirs(ends[1]);
  auto pid = spawn(launcher, theirs.get());
  if (!pid) return pid.error();
  launcher_process process(*pid);
  theirs.reset();
  if (auto sent = send_request(ours.get(), encode(spec), fds); !sent) return sent.error();
  launched out;
  auto first = receive(ours.get(), out.listener);
  if (!first) return first.error();
  message_reader in(*first);
  const std::string word = in.word();
  if (word == "failed") return step_error(in);
  if (word != "pid") return launcher_error("gave an answer that cannot be read");
  const pid_t box = static_cast<pid_t>(in.number());
  out.owners_mapped = in.word() == "mapped";
  // Our child, which only we reap: the number cannot have been used again.
  const auto identity = identify(box);
  out.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, box, 0)));
  const auto abandon = [&out](error e) -> result<launched> {
    if (out.pidfd) {
      (void)kill_and_wait(out.pidfd.get(), 5s);
      (void)reap(out.pidfd.get());
    }
    return e;
  };
  if (!identity || !out.pidfd) return abandon(launcher_error("made a process that is gone"));
  out.process = *identity;
  if (auto placed = on_process(*identity); !placed) return abandon(placed.error());
  if (::send(ours.get(), "go", 2, MSG_NOSIGNAL) != 2) return abandon(errno_error(errno, "let the sandbox start"));
  auto last = receive(ours.get(), out.listener);
  if (!last) return abandon(last.error());
  if (auto outcome = read_outcome(*last, out); !outcome) return abandon(outcome.error());
  process.finished();
  return out;
}

result<gate_sockets> ask_gate(const std::filesystem::path& launcher, const gate_spec& spec, int pidfd) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "make the launcher's control socket");
  unique_fd ours(ends[0]), theirs(ends[1]);
  auto pid = spawn(launcher, theirs.get());
  if (!pid) return pid.error();
  launcher_process process(*pid);
  theirs.reset();
  if (!send_with_descriptor(ours.get(), encode(spec), pidfd)) return errno_error(errno, "ask the launcher");
  pollfd ready{ours.get(), POLLIN, 0};
  int rc = 0;
  do rc = ::poll(&ready, 1, step_deadline_ms);
  while (rc < 0 && errno == EINTR);
  if (rc == 0) return launcher_error("did not open the sandbox's network in time");
  std::string text(message_limit, '\0');
  iovec piece{text.data(), text.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(inner_most * sizeof(int))];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  const ssize_t n = ::recvmsg(ours.get(), &message, MSG_CMSG_CLOEXEC);
  gate_sockets out;
  for (cmsghdr* c = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr; c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      out.fds.emplace_back(fd);
    }
  }
  message_reader in(std::string_view(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0));
  const std::string word = in.word();
  if (word == "failed") return step_error(in);
  out.kinds = in.list();
  if (word != "ok" || !in.ok() || out.kinds.size() != out.fds.size())
    return launcher_error("gave an answer that cannot be read");
  process.finished();
  return out;
}

}  // namespace caged::vmm::jail
