// The jail, as one reading of what keeps a command in: its own user, mount, PID, IPC and UTS namespace; a root of our
// own in which only the workspace, /tmp and /dev/shm can be written, and of /proc nothing that sets the machine; no
// capabilities, and none to be had by executing something; Landlock, which says the same about files once more; a filter
// of system calls; with --network none or allowlist an own network namespace. The kernel ends every process in it with
// the server, which is process 1 there.
#include "mcp/server/isolate.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <caged/walls/filter.hpp>
#include <caged/walls/gate.hpp>
#include <caged/walls/mounts.hpp>
#include <caged/walls/second_walls.hpp>

#include "handle.hpp"
#include "mcp/server/memory_limit.hpp"

namespace caged::mcp {
namespace {

constexpr rlim_t most_processes = 1024;
constexpr const char* root = "/tmp";  // where the new root is built, before it is one

std::string why(const std::string& what) { return what + ": " + std::strerror(errno); }

bool put(const char* path, const std::string& text) {
  const agent::fd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

void make_folders(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0755);
  ::mkdir(path.c_str(), 0755);
}

// Everything below a mount, also what is mounted in it.
bool restrict(const std::string& path, std::uint64_t attributes) {
  struct {
    std::uint64_t set, clear, propagation, user_ns;
  } wanted{attributes, 0, 0, 0};
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), AT_RECURSIVE, &wanted, sizeof wanted) == 0;
}

constexpr std::uint64_t read_only_mount = 0x1, no_suid = 0x2, no_devices = 0x4;

// A folder or file of the system, or a link to one, at its place in the new root.
std::string show(const std::string& path) {
  struct stat st {};
  // Links of /etc lead to places that the jail does not have (resolv.conf to /run, mostly): what they lead to is shown.
  const bool settings = path.rfind("/etc/", 0) == 0;
  if ((settings ? ::stat(path.c_str(), &st) : ::lstat(path.c_str(), &st)) != 0) return "";
  const std::string at = root + path;
  if (S_ISLNK(st.st_mode)) {
    char target[PATH_MAX];
    const ssize_t n = ::readlink(path.c_str(), target, sizeof target - 1);
    if (n > 0) ::symlink(std::string(target, static_cast<std::size_t>(n)).c_str(), at.c_str());
    return "";
  }
  if (S_ISDIR(st.st_mode))
    make_folders(at);
  else
    agent::fd(::open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  if (::mount(path.c_str(), at.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) return why("show " + path);
  return restrict(at, read_only_mount | no_suid | no_devices) ? "" : why("make " + path + " read-only");
}

std::string make_devices() {
  make_folders(std::string(root) + "/dev/shm");
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
    const std::string from = std::string("/dev/") + name, at = root + from;
    agent::fd(::open(at.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
    if (::mount(from.c_str(), at.c_str(), nullptr, MS_BIND, nullptr) != 0) return why("show " + from);
  }
  ::symlink("/proc/self/fd", (std::string(root) + "/dev/fd").c_str());
  for (const auto& [name, number] : {std::pair("stdin", "0"), std::pair("stdout", "1"), std::pair("stderr", "2")})
    ::symlink((std::string("/proc/self/fd/") + number).c_str(), (std::string(root) + "/dev/" + name).c_str());
  if (::mount("tmpfs", (std::string(root) + "/dev/shm").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m") !=
      0)
    return why("make /dev/shm");
  return "";
}

// Limits on processes do not bind the host's root, which the jail's user is when root started it. Since Linux 6.14 the
// highest process id is the PID namespace's own, and that binds everybody; before, it was the machine's: hands off.
void bound_process_ids() {
  utsname kernel{};
  int major = 0, minor = 0;
  if (::uname(&kernel) != 0 || std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2) return;
  if (major > 6 || (major == 6 && minor >= 14)) put("/proc/sys/kernel/pid_max", std::to_string(most_processes));
}

std::string build_root(const std::string& workspace) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return why("make the mounts private");
  // Opened before the new root hides its path.
  const agent::fd place(::open(workspace.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const agent::fd process(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place || !process) return why("open the workspace");
  const std::string from = "/proc/self/fd/" + std::to_string(place.get());
  if (::mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m") != 0)
    return why("mount the new root");
  for (const char* path : {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"})
    if (const std::string failed = show(path); !failed.empty()) return failed;
  make_folders(std::string(root) + "/etc");
  for (const char* name :
       {"passwd",          "group",        "hosts",       "hostname",   "resolv.conf",  "nsswitch.conf",
        "localtime",       "timezone",     "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl",
        "ca-certificates", "alternatives", "mime.types",  "protocols",  "services",     "gitconfig",
        "bash.bashrc",     "profile",      "python3",     "node"})
    if (const std::string failed = show(std::string("/etc/") + name); !failed.empty()) return failed;
  if (const std::string failed = make_devices(); !failed.empty()) return failed;
  for (const char* folder : {"/tmp", "/var/tmp", "/run", "/proc", "/home"}) make_folders(std::string(root) + folder);
  if (::mount("tmpfs", (std::string(root) + "/tmp").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=1g") != 0)
    return why("make /tmp");
  bound_process_ids();
  walls::covers with = walls::make_covers();
  walls::attach_proc(with, root, {});
  make_folders(root + workspace);
  if (::mount(from.c_str(), (root + workspace).c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return why("show the workspace");
  restrict(root + workspace, no_suid | no_devices);
  if (::chdir(root) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0)
    return why("change the root");
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
    return why("make the root read-only");
  return ::chdir(workspace.c_str()) == 0 ? "" : why("enter the workspace");
}

std::string enter_namespaces() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
    return why("make namespaces") + " (is kernel.unprivileged_userns_clone or an AppArmor rule in the way?)";
  put("/proc/self/setgroups", "deny");
  if (!put("/proc/self/uid_map", std::to_string(user) + " " + std::to_string(user) + " 1") ||
      !put("/proc/self/gid_map", std::to_string(group) + " " + std::to_string(group) + " 1"))
    return why("map the user");
  return "";
}

void kill_what_is_left() {
  for (int round = 0; round < 500; ++round) {
    const std::string list = "/proc/self/task/" + std::to_string(::getpid()) + "/children";
    const agent::fd file(::open(list.c_str(), O_RDONLY | O_CLOEXEC));
    char text[4096];
    const ssize_t n = file ? ::read(file.get(), text, sizeof text - 1) : 0;
    if (n <= 0) return;
    text[n] = '\0';
    char* at = text;
    for (long pid = std::strtol(at, &at, 10); pid > 0; pid = std::strtol(at, &at, 10))
      ::kill(static_cast<pid_t>(pid), SIGKILL);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    const timespec moment{0, 10'000'000};
    ::nanosleep(&moment, nullptr);
  }
}

// Our end of the way to caged-egress, which is outside of the jail. Lives as long as the server: then that ends too.
int egress_link = -1;

// Waits for the server, passes signals on to it, and ends as it did.
[[noreturn]] void guard(pid_t server, const sigset_t& watched, const memory_limit& limit) {
  ::close(STDIN_FILENO);
  ::close(STDOUT_FILENO);
  if (egress_link >= 0) ::close(egress_link);  // the server's copy is the one that counts
  while (true) {
    const int number = ::sigwaitinfo(&watched, nullptr);
    if (number > 0 && number != SIGCHLD) ::kill(server, number);
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (ended != server) continue;
      kill_what_is_left();
      limit.remove();
      ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
  }
}

void limit(__rlimit_resource_t what, rlim_t most) {
  rlimit l{};
  if (::getrlimit(what, &l) != 0) return;
  l.rlim_max = l.rlim_cur = std::min(most, l.rlim_max);
  ::setrlimit(what, &l);
}

// What the mounts say, said once more by another part of the kernel. A machine without Landlock is told of, because
// mounts, namespaces and the filter stand without it.
void second_walls(server_options& o) {
  const walls::unique_fd filter = walls::compile_filter();
  try {
    walls::confine_by_landlock({{"/", walls::only_reading},
                                {o.workspace, walls::files_below},
                                {"/tmp", walls::files_below},
                                {"/dev", walls::devices},
                                {"/dev/shm", walls::files_below},
                                {"/proc", walls::only_reading | walls::devices}});
  } catch (const walls::step_failure& f) {
    if (f.err != ENOSYS && f.err != EOPNOTSUPP) throw;
    o.warnings.push_back("this kernel has no Landlock: --isolate stands without its second wall around files");
  }
  walls::filter_system_calls(filter.get());
}

std::string beside_this_program(const char* name) {
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  const std::string path = n > 0 ? std::string(self, static_cast<std::size_t>(n)) : std::string();
  return path.substr(0, path.rfind('/') + 1) + name;
}

// Started before there is a jail: it keeps the host's network and files.
std::string start_egress(const server_options& o) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return why("make a socket pair");
  const std::string program = beside_this_program("caged-egress");
  if (::access(program.c_str(), X_OK) != 0)
    return why("start " + program) + ". It is installed beside this program and needed for --network allowlist";
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& pattern : o.network_allow) argv.push_back(const_cast<char*>(pattern.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return why("start caged-egress");
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    // dup2 onto itself would keep close-on-exec.
    if (pair[1] == 3) ::fcntl(3, F_SETFD, 0);
    else ::dup2(pair[1], 3);
    ::syscall(SYS_close_range, 4u, ~0u, 0u);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(pair[1]);
  egress_link = pair[0];
  return "";
}

// Hands the sockets of a gate in our new network namespace to caged-egress and waits until it serves them.
std::string hand_over_gate() {
  const walls::namespace_sockets gate = walls::open_gate();
  std::string kinds;
  std::vector<int> numbers;
  for (std::size_t i = 0; i < gate.fds.size(); ++i) {
    kinds += (i == 0 ? "" : " ") + gate.kinds[i];
    numbers.push_back(gate.fds[i].get());
  }
  std::vector<char> control(CMSG_SPACE(numbers.size() * sizeof(int)));
  iovec part{kinds.data(), kinds.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(numbers.size() * sizeof(int));
  std::memcpy(CMSG_DATA(c), numbers.data(), numbers.size() * sizeof(int));
  if (::sendmsg(egress_link, &message, MSG_NOSIGNAL) < 0 && errno != EPIPE) return why("hand the gate over");
  const timeval patience{10, 0};
  ::setsockopt(egress_link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char answer[2048];
  const ssize_t n = ::recv(egress_link, answer, sizeof answer, 0);
  if (n <= 0) return "caged-egress does not answer" + (n < 0 ? std::string(": ") + std::strerror(errno) : "");
  const std::string said(answer, static_cast<std::size_t>(n));
  return said == "ok" ? "" : "--network-allow: " + said;
}

std::string raise_loopback() {
  const agent::fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return any && ::ioctl(any.get(), SIOCSIFFLAGS, &request) == 0 ? "" : why("raise loopback");
}

}  // namespace

std::string enter_guarded(server_options& o) {
  const bool jailed = o.walls == isolation::jail;
  char whole[PATH_MAX];
  if (::realpath(o.workspace.c_str(), whole) == nullptr) return why("open the workspace " + o.workspace);
  o.workspace = whole;
  if (jailed && o.workspace == "/") return "--isolate with / as the workspace would wall off nothing";
  // The descriptor sees to it that a server whose guardian is gone before it could ask to be told ends all the same.
  sigset_t watched;
  sigemptyset(&watched);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&watched, number);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  if (jailed && o.network == network_mode::allowlist)
    if (const std::string failed = start_egress(o); !failed.empty()) return failed;
  const std::uint64_t machine =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto memory = memory_limit::make(jailed ? o.memory_bytes.value_or(machine / 4 * 3) : 0, most_processes);
  if (jailed)
    if (const std::string failed = enter_namespaces(); !failed.empty()) return failed;
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t guardian = ::getpid();
  const pid_t server = ::fork();
  if (server < 0) return why("start the server's process");
  // Commands run as the same user: without this they could read the environment and memory of the guardian.
  if (server > 0) ::prctl(PR_SET_DUMPABLE, 0), guard(server, watched, memory);
  ::prctl(PR_SET_PDEATHSIG, jailed ? SIGKILL : SIGTERM);
  if (!jailed) return ::getppid() == guardian ? "" : "the guardian is gone";
  ::setenv("HOME", "/tmp", 1);
  ::unsetenv("TMPDIR");
  memory.join();
  try {
    return build_root(o.workspace);
  } catch (const walls::step_failure& f) {
    return f.step + ": " + std::strerror(f.err);
  }
}

std::string close_jail(server_options& o) {
  if (o.walls != isolation::jail) return "";
  if (o.network != network_mode::full) {
    if (::unshare(CLONE_NEWNET) != 0) return why("make a network namespace");
    if (const std::string failed = raise_loopback(); !failed.empty()) return failed;
  }
  try {
    if (o.network == network_mode::allowlist)
      if (const std::string failed = hand_over_gate(); !failed.empty()) return failed;
  } catch (const walls::step_failure& f) {
    return f.step + ": " + std::strerror(f.err);
  }
  for (int capability = 0; capability < 64; ++capability)
    if (::prctl(PR_CAPBSET_DROP, capability) != 0 && errno == EINVAL) break;
  ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                 SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (::syscall(SYS_capset, &header, none) != 0) return why("give up capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return why("forbid new privileges");
  limit(RLIMIT_NPROC, most_processes);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, 65536);
  limit(RLIMIT_MEMLOCK, 8u << 20);
  limit(RLIMIT_MSGQUEUE, 819200);
  limit(RLIMIT_SIGPENDING, 8192);
  try {
    second_walls(o);
  } catch (const walls::step_failure& f) {
    return f.wall + ": " + f.step + ": " + std::strerror(f.err);
  }
  return "";
}

}  // namespace caged::mcp
