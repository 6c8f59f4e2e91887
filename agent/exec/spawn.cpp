// vfork: the child borrows this process's memory until execve, so a start costs no page-table copy and a failure is
// simply a variable. Safe because the child calls only system calls on data prepared before, writes only to `outcome`
// and the parent thread is suspended meanwhile. Identity changes use raw system calls: the C library's versions would
// signal the other threads of the parent.
#include "exec/spawn.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

namespace caged::agent {
namespace {

enum class step : int { none = 0, session, group, terminal, descriptors, mark, groups, gid, uid, chdir, exec };

struct prepared {
  const spawn_plan* plan;
  std::vector<char*> argv, envp;
  std::vector<std::string> candidates;
  volatile int failed_step = 0;
  volatile int failed_errno = 0;
};

[[noreturn]] void give_up(prepared& p, step at) {
  p.failed_errno = errno;
  p.failed_step = static_cast<int>(at);
  ::_exit(127);
}

// dup2 onto itself keeps close-on-exec, so that case clears the flag instead.
bool put_at(int from, int to) {
  if (from == to) return ::fcntl(from, F_SETFD, 0) == 0;
  return ::dup2(from, to) == to;
}

void become(prepared& p, const user& who) {
  if (::syscall(SYS_setgroups, who.groups.size(), who.groups.data()) != 0 && ::geteuid() == 0) {
    // A user namespace with setgroups denied has no other groups to drop.
    if (errno != EPERM) give_up(p, step::groups);
  }
  if (::syscall(SYS_setresgid, who.gid, who.gid, who.gid) != 0) give_up(p, step::gid);
  if (::syscall(SYS_setresuid, who.uid, who.uid, who.uid) != 0) give_up(p, step::uid);
}

[[noreturn]] void child(prepared& p) {
  const spawn_plan& plan = *p.plan;
  if (::setsid() < 0) give_up(p, step::session);
  if (plan.group >= 0 && ::write(plan.group, "0", 1) != 1) give_up(p, step::group);
  if (plan.tty == spawn_plan::terminal::controlling && ::ioctl(plan.input, TIOCSCTTY, 0) != 0)
    give_up(p, step::terminal);
  if (!put_at(plan.input, 0) || !put_at(plan.output, 1) || !put_at(plan.error, 2)) give_up(p, step::descriptors);
  // Whatever else was inherited (or opened by a library without the flag) ends here.
  if (::syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) != 0 && errno != ENOSYS && errno != EINVAL &&
      errno != EPERM)
    give_up(p, step::descriptors);
  rlimit limit{plan.cookie, plan.cookie};
  if (plan.cookie != 0 && ::syscall(SYS_prlimit64, 0, RLIMIT_RTTIME, &limit, nullptr) != 0) give_up(p, step::mark);
  if (plan.run_as) become(p, *plan.run_as);
  if (::fchdir(plan.cwd.get()) != 0) give_up(p, step::chdir);
  ::umask(022);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  int err = ENOENT;
  for (const std::string& file : p.candidates) {
    ::execve(file.c_str(), p.argv.data(), p.envp.data());
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
    if (errno == EACCES) err = EACCES;  // as execvp does: "found but not allowed" beats "not found"
    errno = err;
  }
  give_up(p, step::exec);
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> along_path(const std::string& program, const std::string& path) {
  if (program.find('/') != std::string::npos) return {program};
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string folder = path.substr(at, end - at);
    out.push_back((folder.empty() ? "." : folder) + "/" + program);
    at = end + 1;
  }
  return out;
}

failed explain(const prepared& p) {
  const int err = p.failed_errno;
  const std::string& program = p.plan->argv[0];
  switch (static_cast<step>(p.failed_step)) {
    case step::chdir:
      return os_failure(err, "enter the working folder");
    case step::groups:
    case step::gid:
    case step::uid:
      return failed("permission_denied", "cannot_change_user",
                    "become user " + p.plan->run_as->name + ": " + std::strerror(err),
                    "Leave the user out, or use a backend whose boxes have several users.", "/user");
    case step::exec: {
      if (err == ENOENT)
        return failed("not_found", "program_not_found", "start " + program + ": there is no such program",
                      "Install it in the box, give its full path, or check PATH.", "/argv/0");
      if (err == E2BIG)
        return failed("too_large", "arguments_too_large",
                      "start " + program + ": arguments and environment are too long",
                      "Pass long input through stdin or a file.", "/argv");
      if (err == ENOEXEC)
        return failed("invalid_argument", "not_executable", "start " + program + ": not a program the system can run",
                      "Start a script with its interpreter, or give it a #! line.", "/argv/0");
      return os_failure(err, "start " + program);
    }
    default:
      return os_failure(err, "prepare the process");
  }
}

}  // namespace

spawned spawn(const spawn_plan& plan) {
  prepared p{&plan, pointers(plan.argv), pointers(plan.env), along_path(plan.argv[0], plan.path)};
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::vfork();
  if (pid == 0) child(p);
  const int fork_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0)
    throw failed("limit_exceeded", "process_limit", std::string("start a process: ") + std::strerror(fork_errno),
                 "End processes in the box, or raise its process limit.");
  if (p.failed_step != 0) {
    ::waitpid(pid, nullptr, 0);
    throw explain(p);
  }
  spawned result;
  result.pid = pid;
  result.pidfd = fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return result;
}

}  // namespace caged::agent
