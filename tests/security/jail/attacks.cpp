// Attacks from inside a box. Each tries one thing in a process of its own and says whether it worked:
// "name|wall|stopped" or "name|wall|BROKE <how>". Usage: attacks CANARY_PATH HOST_PID PORT ABSTRACT_NAME ENV_NAME
#include "attack_tools.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace caged::attacks {
namespace {

const attack table[] = {
    // the host's files
    {"read a host file by its path", "pivot_root", [] { return can_read(canary); }},
    {"read it through /proc/1/root", "pidns", [] { return can_read("/proc/1/root" + canary); }},
    {"read it by ../ from the workspace", "pivot_root", [] { return can_read("/workspace/../../../../.." + canary); }},
    {"read it through the first process's cwd", "pidns", [] { return can_read("/proc/1/cwd/../../../.." + canary); }},
    {"escape a chroot by fchdir", "pivot_root",
     [] {
       const int fd = ::open("/", O_DIRECTORY);
       if (::mkdir("/tmp/c", 0755) != 0 || ::chroot("/tmp/c") != 0 || ::fchdir(fd) != 0) return false;
       for (int i = 0; i < 64; ++i) (void)!::chdir("..");
       return ::chroot(".") == 0 && can_read(canary);
     }},
    {"read it through a symlink", "pivot_root",
     [] { return ::symlink(canary.c_str(), "/workspace/link") == 0 && can_read("/workspace/link"); }},
    {"read the host's shadow file", "template", [] { return can_read("/etc/shadow") || can_read("/etc/gshadow"); }},
    {"read the host's ssh keys", "template",
     [] { return ::access("/etc/ssh", F_OK) == 0 || ::access("/root/.ssh", F_OK) == 0; }},
    {"read private keys of certificates", "template", [] { return ::access("/etc/ssl/private", F_OK) == 0; }},
    {"see the host's homes, data and sockets", "pivot_root",
     [] {
       for (const char* path : {"/var/lib/caged", "/var/lib/docker", "/run/docker.sock", "/run/systemd", "/run/dbus",
                                "/var/run/docker.sock", "/lost+found", "/boot/grub"}) {
         if (::access(path, F_OK) == 0) return true;
       }
       return false;
     }},
    {"find a descriptor of the host", "descriptors",
     [] {
       for (const char* dir : {"/proc/self/fd", "/proc/1/fd"}) {
         DIR* d = ::opendir(dir);
         while (const dirent* e = d == nullptr ? nullptr : ::readdir(d)) {
           char to[512] = {};
           if (::readlink((std::string(dir) + "/" + e->d_name).c_str(), to, sizeof to - 1) <= 0) continue;
           if (to[0] == '/' && std::strncmp(to, "/dev/", 5) != 0 && std::strncmp(to, "/proc/", 6) != 0 &&
               std::strncmp(to, "/workspace", 10) != 0 &&
               std::strncmp(to, "/memfd:caged-env", 16) != 0 && /* the box's own environment */
               ::access(to, F_OK) != 0)
             return true;
         }
       }
       return false;
     }},
    {"overwrite the agent's program", "read-only mount",
     [] { return can_write("/proc/1/exe") || can_write("/run/caged/agent"); }},
    {"replace the agent's program", "mount",
     [] { return ::unlink("/run/caged/agent") == 0 || ::rename("/run/caged/agent", "/run/caged/old") == 0; }},
    {"open by handle", "seccomp",
     [] {
       struct {
         unsigned bytes = 8;
         int type = 1;
         unsigned char data[8] = {2};
       } handle;
       const int fd = ::open("/", O_DIRECTORY);
       return call(SYS_open_by_handle_at, fd, reinterpret_cast<long>(&handle), O_RDONLY) >= 0;
     }},
    // mounts and namespaces
    {"mount a tmpfs", "seccomp", [] { return ::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0; }},
    {"mount proc again", "seccomp", [] { return ::mount("proc", "/tmp", "proc", 0, nullptr) == 0; }},
    {"remount /proc/sys writable", "seccomp",
     [] { return ::mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0; }},
    {"uncover a masked file", "seccomp", [] { return ::umount2("/proc/kcore", MNT_DETACH) == 0; }},
    {"uncover by open_tree", "seccomp", [] { return call(428, AT_FDCWD, reinterpret_cast<long>("/proc"), 1) >= 0; }},
    {"open a file system", "seccomp", [] { return call(430, reinterpret_cast<long>("tmpfs"), 0) >= 0; }},
    {"change mount attributes", "seccomp",
     [] {
       mount_attr a{};
       a.attr_clr = MOUNT_ATTR_RDONLY;
       return call(442, AT_FDCWD, reinterpret_cast<long>("/dev"), 0, reinterpret_cast<long>(&a), sizeof a) == 0;
     }},
    {"pivot the root", "seccomp",
     [] { return call(SYS_pivot_root, reinterpret_cast<long>("/tmp"), reinterpret_cast<long>("/tmp")) == 0; }},
    {"list mounts of the host", "seccomp",
     [] { return slurp("/proc/self/mountinfo").find("/old_root") != std::string::npos; }},
    {"make a user namespace", "seccomp", [] { return ::unshare(CLONE_NEWUSER) == 0; }},
    {"make a user namespace by clone3", "seccomp",
     [] {
       std::uint64_t args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
       const long pid = call(435, reinterpret_cast<long>(args), 88);
       if (pid == 0) ::_exit(0);
       return pid > 0;
     }},
    {"make a user namespace by clone", "seccomp",
     [] {
       const long pid = call(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
       if (pid == 0) ::_exit(0);
       return pid > 0;
     }},
    {"make a network namespace", "seccomp", [] { return ::unshare(CLONE_NEWNET) == 0; }},
    {"enter a namespace of the first process", "seccomp",
     [] {
       const int fd = ::open("/proc/1/ns/mnt", O_RDONLY);
       return fd >= 0 && ::setns(fd, 0) == 0;
     }},
    // devices
    {"make a device node", "userns", [] { return ::mknod("/workspace/disk", S_IFBLK | 0600, makedev(254, 0)) == 0; }},
    {"make /dev/mem", "userns", [] { return ::mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)) == 0; }},
    {"open devices of the machine", "mount",
     [] {
       for (const char* path : {"/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse",
                                "/dev/net/tun", "/dev/loop-control", "/dev/port", "/dev/vsock", "/dev/console"}) {
         if (::access(path, F_OK) == 0) return true;
       }
       return false;
     }},
    {"put a file into /dev", "mount", [] { return ::open("/dev/evil", O_CREAT | O_WRONLY, 0600) >= 0; }},
    // /proc and /sys
    {"set core_pattern", "mount", [] { return can_write("/proc/sys/kernel/core_pattern", "|/workspace/x"); }},
    {"set any kernel setting", "mount",
     [] {
       return can_write("/proc/sys/kernel/hostname") || can_write("/proc/sys/vm/overcommit_memory", "1") ||
              can_write("/proc/sys/net/ipv4/ip_forward", "1") || can_write("/proc/sys/kernel/modprobe", "/x");
     }},
    {"press sysrq", "mount", [] { return can_write("/proc/sysrq-trigger", "h"); }},
    {"read the kernel's memory", "mount", [] { return can_read("/proc/kcore"); }},
    {"read kernel symbols, keys and timers", "mount",
     [] {
       return can_read("/proc/kallsyms") || can_read("/proc/keys") || can_read("/proc/timer_list") ||
              can_read("/proc/modules") || can_read("/proc/kmsg");
     }},
    {"read the kernel's command line", "mount", [] { return can_read("/proc/cmdline"); }},
    {"see firmware and modules", "mount",
     [] {
       return ::access("/sys/firmware/dmi", F_OK) == 0 || ::access("/sys/module/kernel", F_OK) == 0 ||
              ::access("/sys/kernel/debug", F_OK) == 0;
     }},
    {"write to /sys", "mount",
     [] { return can_write("/sys/power/state", "mem") || can_write("/sys/class/net/lo/mtu", "1000"); }},
    {"set a release agent", "mount",
     [] {
       return ::access("/sys/fs/cgroup/release_agent", F_OK) == 0 || can_write("/sys/fs/cgroup/memory/release_agent");
     }},
    {"leave the cgroup", "mount",
     [] { return ::access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 || ::access("/sys/fs/cgroup/memory", F_OK) == 0; }},
    {"see the host's cgroup path", "cgroupns",
     [] { return slurp("/proc/self/cgroup").find("caged-") != std::string::npos; }},
    {"raise its own oom protection", "userns", [] { return can_write("/proc/self/oom_score_adj", "-1000"); }},
    // processes
    {"signal a process of the host", "pidns", [] { return ::kill(host_pid, SIGKILL) == 0; }},
    {"see processes of the host", "pidns",
     [] {
       int n = 0;
       DIR* d = ::opendir("/proc");
       while (const dirent* e = ::readdir(d))
         n += e->d_name[0] >= '1' && e->d_name[0] <= '9' && std::atoi(e->d_name) > 2000;
       return n > 0;
     }},
    {"trace a process of the host", "pidns", [] { return ::ptrace(PTRACE_ATTACH, host_pid, nullptr, nullptr) == 0; }},
    {"open a pidfd of a host process", "pidns", [] { return call(SYS_pidfd_open, host_pid, 0) >= 0; }},
    {"take a descriptor from the first process", "seccomp",
     [] {
       const long p = call(SYS_pidfd_open, 1, 0);
       return p >= 0 && call(438, p, 3, 0) >= 0;
     }},
    {"read the memory of a host process", "pidns",
     [] {
       char c;
       iovec l{&c, 1}, r{reinterpret_cast<void*>(0x1000), 1};
       return call(SYS_process_vm_readv, host_pid, reinterpret_cast<long>(&l), 1, reinterpret_cast<long>(&r), 1) >= 0 ||
              errno == EFAULT;
     }},
    {"kill the box's first process", "pidns",
     [] {
       ::kill(1, SIGKILL);
       ::usleep(20000);
       return false;
     }},
    {"raise its priority", "rlimit", [] { return ::setpriority(PRIO_PROCESS, 0, -5) == 0; }},
    {"raise a hard limit", "capabilities",
     [] {
       rlimit r{};
       ::getrlimit(RLIMIT_NOFILE, &r);
       r.rlim_max += 1000;
       return ::setrlimit(RLIMIT_NOFILE, &r) == 0;
     }},
    {"dump core", "rlimit",
     [] {
       rlimit r{1, 1};
       return ::setrlimit(RLIMIT_CORE, &r) == 0;
     }},
    {"find the host's environment", "exec",
     [] {
       return slurp("/proc/1/environ").find(env_name) != std::string::npos || ::getenv(env_name.c_str()) != nullptr;
     }},
    // privileges
    {"keep more capabilities than allowed", "capabilities",
     [] {
       const std::string s = slurp("/proc/self/status");
       const auto at = s.find("CapBnd:");
       const auto bits = std::strtoull(s.c_str() + at + 7, nullptr, 16);
       return (bits & ((1ull << 21) | (1ull << 12) | (1ull << 13) | (1ull << 19) | (1ull << 16) | (1ull << 27))) != 0;
     }},
    {"run without no_new_privs", "no_new_privs", [] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1; }},
    {"run without a filter", "seccomp", [] { return ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2; }},
    {"be root on the host", "userns",
     [] {
       unsigned in = 0, out = 0, n = 0;
       std::istringstream(slurp("/proc/self/uid_map")) >> in >> out >> n;
       return out == 0;
     }},
    {"set the host name", "capabilities", [] { return ::sethostname("evil", 4) == 0; }},
    {"set the clock", "seccomp",
     [] {
       timespec t{1, 0};
       return ::clock_settime(CLOCK_REALTIME, &t) == 0;
     }},
    {"adjust the clock", "seccomp",
     [] {
       timex t{};
       t.modes = ADJ_OFFSET;
       return ::adjtimex(&t) >= 0;
     }},
    {"load a module", "seccomp",
     [] { return call(SYS_init_module, 0, 0, reinterpret_cast<long>("")) == 0 || errno != EPERM; }},
    {"load a kernel", "seccomp", [] { return call(SYS_kexec_load, 0, 0, 0, 0) == 0 || errno != EPERM; }},
    {"reboot the machine", "seccomp", [] { return call(SYS_reboot, 0xfee1dead, 672274793, 0x89ABCDEF) == 0; }},
    {"swap", "seccomp", [] { return ::swapoff("/x") == 0 || errno != EPERM; }},
    {"load a BPF program", "seccomp", [] { return call(SYS_bpf, 0, 0, 0) >= 0 || errno != EPERM; }},
    {"observe by perf", "seccomp", [] { return call(SYS_perf_event_open, 0, 0, -1, -1, 0) >= 0 || errno != EPERM; }},
    {"use userfaultfd", "seccomp", [] { return call(SYS_userfaultfd, 1) >= 0; }},
    {"use io_uring", "seccomp",
     [] {
       char p[120] = {};
       return call(425, 4, reinterpret_cast<long>(p)) >= 0;
     }},
    {"use keyrings", "seccomp",
     [] {
       return call(SYS_keyctl, 0, -3, 0) >= 0 ||
              call(SYS_add_key, reinterpret_cast<long>("user"), reinterpret_cast<long>("k"),
                   reinterpret_cast<long>("v"), 1, -4) >= 0;
     }},
    {"read the kernel's log", "seccomp",
     [] {
       char b[64];
       return call(SYS_syslog, 3, reinterpret_cast<long>(b), sizeof b) >= 0;
     }},
    {"inject into a terminal", "seccomp",
     [] {
       const int m = ::posix_openpt(O_RDWR | O_NOCTTY);
       char c = 'x';
       return m < 0 || (::ioctl(m, TIOCSTI, &c) == 0) || errno != EPERM;
     }},
    {"inject into a terminal, high bits set", "seccomp",
     [] {
       const int m = ::posix_openpt(O_RDWR | O_NOCTTY);
       char c = 'x';
       return call(SYS_ioctl, m, static_cast<long>(0x100000000ull | TIOCSTI), reinterpret_cast<long>(&c)) == 0 ||
              errno != EPERM;
     }},
    // network
    {"reach the host's loopback", "netns",
     [] {
       return tcp("127.0.0.1", host_port) && errno != ECONNREFUSED && [] {
         ::usleep(50000);
         return false;
       }();
     }},
    {"reach the metadata address", "netns", [] { return tcp("169.254.169.254", 80); }},
    {"reach the Internet by TCP", "netns", [] { return tcp("1.1.1.1", 443); }},
    {"reach a name server by UDP", "netns", [] { return udp("8.8.8.8", 53); }},
    {"see interfaces of the host", "netns",
     [] {
       DIR* d = ::opendir("/sys/class/net");
       int n = 0;
       while (const dirent* e = d == nullptr ? nullptr : ::readdir(d))
         n += e->d_name[0] != '.' && std::strcmp(e->d_name, "lo") != 0;
       return n > 0;
     }},
    {"open a raw socket", "seccomp", [] { return ::socket(AF_INET, SOCK_RAW, 1) >= 0; }},
    {"open a packet socket", "seccomp", [] { return ::socket(AF_PACKET, SOCK_RAW, 0) >= 0; }},
    {"open a vsock", "seccomp", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0) >= 0; }},
    {"open an AF_ALG socket", "seccomp", [] { return ::socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0; }},
    {"open a netfilter socket", "seccomp", [] { return ::socket(AF_NETLINK, SOCK_RAW, 12) >= 0; }},
    {"configure an interface", "capabilities",
     [] {
       ifreq r{};
       std::strcpy(r.ifr_name, "lo");
       r.ifr_flags = 0;
       const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
       return ::ioctl(s, SIOCSIFFLAGS, &r) == 0;
     }},
    {"connect to an abstract socket of the host", "netns",
     [] {
       const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
       sockaddr_un to{};
       to.sun_family = AF_UNIX;
       abstract_name.copy(to.sun_path + 1, 90);
       return ::connect(s, reinterpret_cast<sockaddr*>(&to),
                        static_cast<socklen_t>(sizeof to.sun_family + 1 + abstract_name.size())) == 0;
     }},
    // set-id
    {"gain by a set-user-id program", "no_new_privs",
     [] {
       // A program of another user inside, set-id: running it must not change who we are.
       if (::chown("/workspace/setid", 1000, 1000) != 0) return false;  // one user only: nothing to gain
       if (::chmod("/workspace/setid", 06755) != 0) return false;
       const pid_t p = ::fork();
       if (p == 0) {
         ::execl("/workspace/setid", "setid", "--euid", nullptr);
         ::_exit(1);
       }
       int status = 0;
       ::waitpid(p, &status, 0);
       return WIFEXITED(status) && WEXITSTATUS(status) == 77;
     }},
};

bool run(const attack& a, std::string& how) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);
    ::_exit(a.works() ? 66 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  how = "status " + std::to_string(status);
  return WIFEXITED(status) && WEXITSTATUS(status) == 66;
}

int run_all() {
  std::vector<attack> all(std::begin(table), std::end(table));
  all.insert(all.end(), kernel_attacks().begin(), kernel_attacks().end());
  for (const auto& a : all) {
    std::string how;
    const bool worked = run(a, how);
    std::printf("%s|%s|%s\n", a.name, a.wall, worked ? ("BROKE " + how).c_str() : "stopped");
    std::fflush(stdout);
  }
  std::printf("attacks: %zu\n", all.size());
  return 0;
}

}  // namespace
}  // namespace caged::attacks

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--euid") == 0) return ::geteuid() == 1000 ? 77 : 0;
  if (argc == 2 && std::strcmp(argv[1], "--caps") == 0) {
    const std::string status = caged::attacks::slurp("/proc/self/status");
    const auto bits = std::strtoull(status.c_str() + status.find("CapEff:") + 7, nullptr, 16);
    return (bits >> 21 & 1) != 0 ? 78 : 0;  // SYS_ADMIN
  }
  if (argc != 6) return 2;
  caged::attacks::canary = argv[1];
  caged::attacks::host_pid = std::atoi(argv[2]);
  caged::attacks::host_port = std::atoi(argv[3]);
  caged::attacks::abstract_name = argv[4];
  caged::attacks::env_name = argv[5];
  return caged::attacks::run_all();
}
