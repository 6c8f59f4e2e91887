#include "launcher/contain.hpp"

#include "launcher/descriptor_message.hpp"
#include "launcher/observe.hpp"

#include <caged/walls/second_walls.hpp>

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace caged::vmm::jail {
namespace {

// ids -------------------------------------------------------------------------------------------------------------

// Root inside is `uid_base` (or the ordinary user) outside: nobody to the host. Taken before anything is mounted, so
// that every later step has only the rights that the box's root will have.
void become_root_inside(const launch_spec& spec) {
  if (spec.uid_base != 0) must(::setgroups(0, nullptr), "userns", "drop supplementary groups");
  must(::setresgid(0, 0, 0), "userns", "become group 0 inside");
  must(::setresuid(0, 0, 0), "userns", "become user 0 inside");
}

// A session of its own: no controlling terminal to inject into, no process group shared with the host. A session
// keyring of its own: the host's keys are not possessed.
void leave_session() {
  must(::setsid(), "session", "setsid");
  ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);  // fails where the kernel has no keys, which is as good
}

void raise_loopback() {
  unique_fd s(must(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "netns", "open a socket"));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  must(::ioctl(s.get(), SIOCSIFFLAGS, &request), "netns", "raise loopback");
}

void set_limit(__rlimit_resource_t resource, rlim_t value, const char* name) {
  rlimit limit{};
  must(::getrlimit(resource, &limit), "rlimit", std::string("read ") + name);
  // A host that is limited itself may not raise; the box then gets what the host has.
  limit.rlim_max = limit.rlim_cur = std::min(value, limit.rlim_max);
  must(::setrlimit(resource, &limit), "rlimit", std::string("limit ") + name);
}

void limit_resources(const launch_spec& spec) {
  set_limit(RLIMIT_CORE, 0, "core");
  set_limit(RLIMIT_NOFILE, 65536, "nofile");
  set_limit(RLIMIT_MEMLOCK, 8u << 20, "memlock");
  set_limit(RLIMIT_MSGQUEUE, 819200, "msgqueue");
  set_limit(RLIMIT_RTPRIO, 0, "rtprio");
  set_limit(RLIMIT_NICE, 0, "nice");
  set_limit(RLIMIT_SIGPENDING, 8192, "sigpending");
  if (spec.rlimit_processes != 0) set_limit(RLIMIT_NPROC, spec.rlimit_processes, "nproc");
  if (spec.rlimit_data != 0) set_limit(RLIMIT_DATA, spec.rlimit_data, "data");
}

// capabilities ----------------------------------------------------------------------------------------------------

// What programs inside need of "root": owning files, switching users, low ports. They hold over the box's user
// namespace only. Not among them: SYS_ADMIN, NET_ADMIN, NET_RAW, SYS_PTRACE, MKNOD, SYS_MODULE, SYS_RAWIO, SYS_TIME …
constexpr int kept_capabilities[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,           CAP_KILL,
                                     CAP_SETGID, CAP_SETUID,       CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
                                     CAP_SETFCAP};

void drop_capabilities() {
  std::uint64_t keep = 0;
  for (int c : kept_capabilities) keep |= 1ull << c;
  for (int c = 0; c < 64; ++c) {
    // The bounding set is what no later exec can pass; beyond the kernel's last capability prctl says EINVAL.
    if ((keep >> c & 1) == 0 && ::prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0 && errno != EINVAL) {
      fail_step("capabilities", "drop capability " + std::to_string(c) + " from the bounding set");
    }
  }
  must(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "capabilities", "clear ambient capabilities");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int half = 0; half < 2; ++half) {
    const auto bits = static_cast<std::uint32_t>(keep >> (32 * half));
    data[half].permitted = data[half].effective = bits;
    data[half].inheritable = 0;
  }
  must(static_cast<int>(::syscall(SYS_capset, &header, data)), "capabilities", "reduce capabilities");
}

bool accepted(const launch_spec& spec, const std::string& wall) {
  return std::find(spec.accept_missing.begin(), spec.accept_missing.end(), wall) != spec.accept_missing.end();
}

// The listener leaves the box: who holds it answers every execution in here.
void hand_out_listener(int report, unique_fd listener) {
  const std::string text = message_writer().word("listener").text();
  if (!send_with_descriptor(report, text, listener.get())) fail_step("evidence.exec", "hand out the listener");
}

void report_missing(int report, const step_failure& f) {
  const std::string line =
      message_writer().word("missing").word(f.wall).word(f.step).number(static_cast<std::uint64_t>(f.err)).text();
  if (::write(report, line.data(), line.size()) < 0) fail_step("launcher", "report a missing wall");
}

// A descriptor of the host's mount namespace cannot be cloned from inside this one. Its path leads to the same place in
// our copy of the tree; that it is the same is looked at, because somebody may have renamed folders meanwhile.
unique_fd reopen_here(int fd, const std::string& what) {
  char path[4096];
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path - 1);
  if (n <= 0) fail_step("mount", "find the path of " + what);
  path[n] = '\0';
  unique_fd here(must(::open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW), "mount", "open " + what + " again"));
  struct stat there {
  }, now{};
  must(::fstat(fd, &there), "mount", "look at " + what);
  must(::fstat(here.get(), &now), "mount", "look at " + what);
  if (there.st_dev != now.st_dev || there.st_ino != now.st_ino)
    fail_step("mount", "open " + what + " again: it was replaced", ESTALE);
  return here;
}

detached_trees clone_trees_here(const launch_spec& spec, const handed_fds& fds) {
  const unique_fd box = reopen_here(fds[static_cast<std::size_t>(handed::box_folder)].get(), "the box's folder");
  const unique_fd agent =
      reopen_here(fds[static_cast<std::size_t>(handed::agent_program)].get(), "the agent's program");
  return clone_trees(spec, box.get(), agent.get());
}

// agent -----------------------------------------------------------------------------------------------------------

void open_null_stdio() {
  unique_fd null(must(::open("/dev/null", O_RDWR | O_CLOEXEC), "exec", "open /dev/null"));
  for (int fd = 0; fd < 3; ++fd) must(::dup2(null.get(), fd), "exec", "connect standard streams to /dev/null");
}

// Moves `fd` to 64 or above, out of the way of the numbers the agent expects.
int lift(int fd, int at_least) {
  return must(::fcntl(fd, F_DUPFD_CLOEXEC, at_least), "exec", "duplicate a descriptor");
}

struct agent_start {
  int filter = -1, report = -1, program = -1;
};

// Afterwards only 0..5 survive an exec, and nothing else is open but what this function returns.
agent_start arrange_descriptors(handed_fds& fds, int report) {
  agent_start start;
  const int listen = lift(fds[static_cast<std::size_t>(handed::listen)].get(), 70);
  const int ready = lift(fds[static_cast<std::size_t>(handed::ready)].get(), 71);
  const int env = lift(fds[static_cast<std::size_t>(handed::env)].get(), 72);
  start.filter = lift(fds[static_cast<std::size_t>(handed::filter)].get(), 73);
  start.report = lift(report, 74);
  start.program =
      lift(must(::open("/run/caged/agent", O_RDONLY | O_CLOEXEC | O_NOFOLLOW), "exec", "open the agent"), 75);
  must(::dup2(listen, agent_listen_fd), "exec", "hand over the listening socket");
  must(::dup2(ready, agent_ready_fd), "exec", "hand over the ready pipe");
  must(::dup2(env, agent_env_fd), "exec", "hand over the environment");
  open_null_stdio();
  for (auto& fd : fds) fd.release();
  // 6 and above are inherited descriptors of the launcher; those of ours lie at 70 and above, in ascending order.
  std::array<int, 3> kept{start.filter, start.report, start.program};
  std::sort(kept.begin(), kept.end());
  int from = agent_env_fd + 1;
  for (int fd : kept) {
    if (fd > from)
      must(static_cast<int>(::syscall(SYS_close_range, from, fd - 1, 0)), "exec", "close inherited descriptors");
    from = fd + 1;
  }
  must(static_cast<int>(::syscall(SYS_close_range, from, ~0u, 0)), "exec", "close inherited descriptors");
  return start;
}

[[noreturn]] void run_agent(const launch_spec& spec, const agent_start& start) {
  std::vector<char*> argv;
  for (const auto& word : spec.agent_argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  // A fixed environment: nothing of the host's can leak, because nothing of it is read.
  const char* env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                       "LANG=C.UTF-8", nullptr};
  sys_execveat(start.program, "", argv.data(), const_cast<char* const*>(env), AT_EMPTY_PATH);
  fail_step("exec", "execute the agent");
}

}  // namespace

std::uint64_t namespace_flags() noexcept {
  return CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
}

// The security argument, top to bottom. Each step relies on those above it.
void contain(const launch_spec& spec, handed_fds fds, detached_trees trees, int report) {
  std::vector<std::string> missing;
  ::umask(0);
  become_root_inside(spec);  // 1. from here on, no right that the box's root has not
  leave_session();  // 2. no terminal, no process group, no keys of the host
  must(::unshare(CLONE_NEWCGROUP), "cgroupns",
       "unshare the cgroup namespace");  // 3. its own cgroup is the root it sees
  must(::sethostname(spec.id.data(), spec.id.size()), "utsns", "set the host name");
  raise_loopback();  // 4. a network with loopback, and nothing else in it
  if (!trees.box) trees = clone_trees_here(spec, fds);
  enter_root(spec, std::move(trees), missing);  // 5. no path leads to the host's files
  ::umask(022);
  agent_start start = arrange_descriptors(fds, report);  // 6. no descriptor leads to the host's files
  limit_resources(spec);
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs", "set no_new_privs");  // 7. exec gives no new rights
  drop_capabilities();  // 8. what was built above cannot be taken down
  try {
    confine_by_landlock({{"/", everything_below}});  // 9. a second wall behind 5
  } catch (const step_failure& f) {
    if (!accepted(spec, f.wall)) throw;
    report_missing(start.report, f);
  }
  unique_fd listener;
  try {
    if (spec.witness != 0) listener = install_exec_filter();  // 10. nothing in here runs unseen
  } catch (const step_failure& f) {
    if (!accepted(spec, f.wall)) throw;
    report_missing(start.report, f);
  }
  // 11. last, because the steps above need calls that it refuses. A smaller kernel to attack.
  filter_system_calls(start.filter);
  ::close(start.filter);
  if (listener) hand_out_listener(start.report, std::move(listener));
  run_agent(spec, start);
}

}  // namespace caged::vmm::jail
