#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <cstddef>
#include <cstdlib>

#include "attack_tools.hpp"

namespace caged::attacks {
namespace {

// A call that must be refused for what it is, not for its arguments.
bool let_through(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  return call(number, a, b, c, d, e) >= 0 || (errno != EPERM && errno != ENOSYS && errno != EACCES);
}
long at(const void* p) { return reinterpret_cast<long>(p); }
bool socket_opens(int family, int type, int protocol) { return ::socket(family, type, protocol) >= 0; }

#if defined(__x86_64__)
// The 32-bit door of the kernel: the same calls under other numbers.
long call32(long number, long a = 0, long b = 0, long c = 0) {
  long result = 0;
  asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return result;
}
#endif

bool change_route(int kind) {
  const int s = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct {
    nlmsghdr head;
    rtmsg route;
  } m{};
  m.head = {sizeof m, static_cast<__u16>(kind), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, 1, 0};
  m.route.rtm_family = AF_INET;
  m.route.rtm_table = RT_TABLE_MAIN;
  m.route.rtm_protocol = RTPROT_BOOT;
  m.route.rtm_type = RTN_BLACKHOLE;
  if (s < 0 || ::send(s, &m, sizeof m, 0) < 0) return false;
  struct {
    nlmsghdr head;
    nlmsgerr error;
    char rest[256];
  } answer{};
  return ::recv(s, &answer, sizeof answer, 0) > 0 && answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
}

bool forge_credentials(pid_t pid) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0) return false;
  char byte = 'x', space[CMSG_SPACE(sizeof(ucred))] = {};
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_CREDENTIALS;
  c->cmsg_len = CMSG_LEN(sizeof(ucred));
  const ucred who{pid, 0, 0};
  std::memcpy(CMSG_DATA(c), &who, sizeof who);
  return ::sendmsg(ends[0], &message, 0) == 1;
}

bool gain_capability(int capability) {
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &head, data) != 0) return true;
  data[capability / 32].permitted |= 1u << capability % 32;
  data[capability / 32].effective |= 1u << capability % 32;
  return ::syscall(SYS_capset, &head, data) == 0;
}

// Another listener of executions would answer in the host's place.
bool take_over_executions() {
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
  sock_fprog program{1, &allow};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1u << 3, &program) >= 0;
}

// A file that grants its reader SYS_ADMIN: no_new_privs and the bounding set make it worth nothing.
bool gain_by_file_capability() {
  struct {
    __u32 magic, permitted, inheritable, high_permitted, high_inheritable;
  } grant{0x02000001, 1u << CAP_SYS_ADMIN, 0, 0, 0};
  if (::setxattr("/workspace/setid", "security.capability", &grant, sizeof grant, 0) != 0) return false;
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/workspace/setid", "setid", "--caps", nullptr);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::removexattr("/workspace/setid", "security.capability");
  return WIFEXITED(status) && WEXITSTATUS(status) == 78;
}

const std::vector<attack> kernel_table = {
    // the host's files, by other roads
    {"read it through a host process's root", "pidns",
     [] { return can_read("/proc/" + std::to_string(host_pid) + "/root" + canary); }},
    {"list descriptors of a host process", "pidns",
     [] { return ::access(("/proc/" + std::to_string(host_pid) + "/fd").c_str(), F_OK) == 0; }},
    {"read the memory of a host process by /proc", "pidns",
     [] { return can_read("/proc/" + std::to_string(host_pid) + "/mem"); }},
    {"read a host process's environment", "pidns",
     [] { return can_read("/proc/" + std::to_string(host_pid) + "/environ"); }},
    {"name a file by handle", "seccomp",
     [] {
       char h[128] = {};
       int id = 0;
       return let_through(SYS_name_to_handle_at, AT_FDCWD, at("/"), at(h), at(&id), 0);
     }},
    {"move a mount point away", "mount",
     [] {
       return ::rename("/etc", "/etc2") == 0 || ::rename("/usr", "/usr2") == 0 || ::rename("/proc", "/proc2") == 0;
     }},
    {"remove a mount point", "mount",
     [] { return ::rmdir("/proc") == 0 || ::rmdir("/dev/pts") == 0 || ::rmdir("/run/caged") == 0; }},
    {"put a link in a mount point's place", "mount",
     [] { return ::symlink("/", "/proc") == 0 || ::symlink("/", "/dev") == 0; }},
    {"cross to another box by ..", "pivot_root",
     [] { return ::access("/../boxes", F_OK) == 0 || ::access("/workspace/../../../attack", F_OK) == 0; }},
    // mounts and namespaces, by other roads
    {"mount by fsmount", "seccomp", [] { return let_through(432, 0, 0, 0); }},
    {"configure a file system", "seccomp", [] { return let_through(431, 0, 6, 0, 0, 0); }},
    {"pick a mounted file system", "seccomp", [] { return let_through(433, AT_FDCWD, at("/"), 0); }},
    {"move a mount", "seccomp", [] { return let_through(429, AT_FDCWD, at("/tmp"), AT_FDCWD, at("/mnt"), 0); }},
    {"ask about mounts by number", "seccomp",
     [] { return let_through(457, 0, 0, 0, 0) || let_through(458, 0, 0, 0, 0); }},
    {"copy a tree with new attributes", "seccomp", [] { return let_through(467, AT_FDCWD, at("/"), 1, 0, 0); }},
    {"make a mount namespace", "seccomp", [] { return ::unshare(CLONE_NEWNS) == 0; }},
    {"make a PID namespace", "seccomp", [] { return ::unshare(CLONE_NEWPID) == 0; }},
    {"make a cgroup namespace", "seccomp", [] { return ::unshare(CLONE_NEWCGROUP) == 0; }},
    {"make a time namespace", "seccomp", [] { return ::unshare(0x80) == 0; }},
    {"enter namespaces by pidfd", "seccomp",
     [] {
       const long p = call(SYS_pidfd_open, 1, 0);
       return ::setns(static_cast<int>(p), CLONE_NEWNS | CLONE_NEWNET) == 0;
     }},
    {"map other user ids", "userns",
     [] { return can_write("/proc/self/uid_map", "0 0 1\n") || can_write("/proc/1/uid_map", "0 0 4294967295\n"); }},
    {"move the box's clocks", "userns",
     [] {
       return can_write("/proc/self/timens_offsets", "monotonic 100000 0\n") ||
              can_write("/proc/1/timens_offsets", "boottime 1 0\n");
     }},
#if defined(__x86_64__)
    {"mount by the 32-bit door", "seccomp", [] { return call32(21, at("none"), at("/tmp"), at("tmpfs")) == 0; }},
    {"load a module by the 32-bit door", "seccomp",
     [] {
       const long r = call32(128);
       return r >= 0 || (r != -EPERM && r != -ENOSYS);
     }},
    {"mount by the x32 door", "seccomp",
     [] { return let_through(0x40000000 | 165, at("none"), at("/tmp"), at("tmpfs"), 0, 0); }},
    {"observe by the x32 door", "seccomp", [] { return let_through(0x40000000 | 298, 0, 0, -1, -1, 0); }},
#endif
    // the kernel
    {"load a module from a file", "seccomp", [] { return let_through(SYS_finit_module, 0, at(""), 0); }},
    {"remove a module", "seccomp", [] { return let_through(SYS_delete_module, at("x"), 0); }},
    {"load a kernel from a file", "seccomp", [] { return let_through(SYS_kexec_file_load, 0, 0, 0, 0, 0); }},
    {"account processes", "seccomp", [] { return let_through(SYS_acct, at("/workspace/acct")); }},
    {"set quotas", "seccomp", [] { return let_through(SYS_quotactl, 0, 0, 0, 0); }},
    {"watch file systems", "seccomp", [] { return let_through(SYS_fanotify_init, 0, 0); }},
    {"compare kernel pointers", "seccomp", [] { return let_through(SYS_kcmp, ::getpid(), ::getpid(), 0, 0, 1); }},
    {"keep memory from the kernel", "seccomp", [] { return let_through(447, 0); }},
    {"advise another process's memory", "seccomp", [] { return let_through(440, -1, 0, 0, 0, 0); }},
    {"move pages of others", "seccomp",
     [] { return let_through(SYS_move_pages, 1, 0, 0, 0, 0) || let_through(SYS_migrate_pages, 1, 0, 0, 0); }},
    {"bind memory to nodes", "seccomp",
     [] { return let_through(SYS_mbind, 0, 0, 0, 0, 0) || let_through(SYS_set_mempolicy, 0, 0, 0); }},
    {"hang up a terminal", "seccomp", [] { return let_through(SYS_vhangup); }},
    {"set the domain name", "capabilities", [] { return ::setdomainname("evil", 4) == 0; }},
    {"ask for kernel keys", "seccomp", [] { return let_through(SYS_request_key, at("user"), at("k"), 0, -4); }},
    {"register a binary format", "mount",
     [] { return can_write("/proc/sys/fs/binfmt_misc/register", ":x:M::x::/workspace/x:"); }},
    {"reach tracing and BPF file systems", "mount",
     [] {
       return ::access("/sys/kernel/tracing", F_OK) == 0 || ::access("/sys/fs/bpf", F_OK) == 0 ||
              ::access("/sys/kernel/security", F_OK) == 0;
     }},
#if defined(__x86_64__)
    {"touch ports", "seccomp", [] { return let_through(SYS_iopl, 3) || let_through(SYS_ioperm, 0x80, 1, 1); }},
    {"change descriptor tables of the processor", "seccomp", [] { return let_through(SYS_modify_ldt, 0, 0, 0); }},
#endif
    // processes and privileges
    {"write into a host process", "pidns",
     [] {
       char c = 0;
       iovec l{&c, 1}, r{reinterpret_cast<void*>(0x1000), 1};
       return ::process_vm_writev(host_pid, &l, 1, &r, 1, 0) > 0;
     }},
    {"seize a process of the host", "pidns", [] { return ::ptrace(PTRACE_SEIZE, host_pid, nullptr, nullptr) == 0; }},
    {"signal every process there is", "pidns",
     [] {
       const pid_t p = ::fork();
       if (p == 0) {
         ::setpgid(0, 0);
         ::kill(-1, 0);
         ::_exit(0);
       }
       ::waitpid(p, nullptr, 0);
       return ::kill(host_pid, 0) == 0;
     }},
    {"change a host process's limits", "pidns",
     [] {
       rlimit r{1, 1};
       return ::prlimit(host_pid, RLIMIT_NOFILE, &r, nullptr) == 0;
     }},
    {"change a host process's scheduling", "pidns",
     [] { return ::setpriority(PRIO_PROCESS, static_cast<id_t>(host_pid), 19) == 0; }},
    {"run in real time", "rlimit",
     [] {
       sched_param p{1};
       return ::sched_setscheduler(0, SCHED_FIFO, &p) == 0;
     }},
    {"lock more memory than allowed", "rlimit",
     [] {
       void* m = ::mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       return ::mlock(m, 64 << 20) == 0;
     }},
    {"gain SYS_ADMIN", "capabilities", [] { return gain_capability(CAP_SYS_ADMIN); }},
    {"gain SYS_PTRACE, NET_ADMIN, SYS_MODULE", "capabilities",
     [] {
       return gain_capability(CAP_SYS_PTRACE) || gain_capability(CAP_NET_ADMIN) || gain_capability(CAP_SYS_MODULE);
     }},
    {"raise an ambient capability", "capabilities",
     [] { return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) == 0; }},
    {"gain by file capabilities", "no_new_privs", [] { return gain_by_file_capability(); }},
    {"leave no_new_privs", "no_new_privs", [] { return ::prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0; }},
    {"forge credentials of a host process", "pidns", [] { return forge_credentials(host_pid); }},
    {"wake the machine", "capabilities", [] { return ::timerfd_create(9 /* CLOCK_BOOTTIME_ALARM */, 0) >= 0; }},
    {"take over the report of executions", "evidence.exec", [] { return take_over_executions(); }},
    // shared memory and queues
    {"find shared memory of the host", "ipcns",
     [] {
       shm_info i{};
       return ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&i)) >= 0 && i.used_ids > 0;
     }},
    {"find semaphores of the host", "ipcns",
     [] {
       seminfo i{};
       return ::semctl(0, 0, SEM_INFO, &i) >= 0 && i.semusz > 0;
     }},
    {"find message queues of the host", "ipcns",
     [] {
       msginfo i{};
       return ::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&i)) >= 0 && i.msgpool > 0;
     }},
    // network
    {"add a route", "capabilities", [] { return change_route(RTM_NEWROUTE); }},
    {"delete routes", "capabilities", [] { return change_route(RTM_DELROUTE); }},
    {"listen to kernel events", "seccomp", [] { return socket_opens(AF_NETLINK, SOCK_RAW, 15); }},
    {"open audit, connector and generic netlink", "seccomp",
     [] {
       return socket_opens(AF_NETLINK, SOCK_RAW, 9) || socket_opens(AF_NETLINK, SOCK_RAW, 11) ||
              socket_opens(AF_NETLINK, SOCK_RAW, 16);
     }},
    {"open families that nobody needs", "seccomp",
     [] {
       for (int f : {3, 4, 5, 9, 17, 21, 29, 30, 31, 38, 40, 41, 43, 44})
         if (socket_opens(f, SOCK_DGRAM, 0) || socket_opens(f, SOCK_RAW, 0) || socket_opens(f, SOCK_SEQPACKET, 0))
           return true;
       return false;
     }},
    {"open a raw IPv6 socket", "seccomp", [] { return socket_opens(AF_INET6, SOCK_RAW, 58); }},
    {"reach the metadata address by UDP", "netns", [] { return udp("169.254.169.254", 53); }},
    {"reach private networks", "netns",
     [] { return tcp("10.0.0.1", 80) || tcp("192.168.0.1", 80) || tcp("172.17.0.1", 80); }},
    {"shout into the host's network", "netns",
     [] {
       const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
       const int on = 1;
       ::setsockopt(s, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
       sockaddr_in to{};
       to.sin_family = AF_INET;
       to.sin_port = htons(9);
       to.sin_addr.s_addr = INADDR_BROADCAST;
       return ::sendto(s, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == 1;
     }},
    {"take another interface's traffic", "netns",
     [] {
       const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
       return ::setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5) == 0;
     }},
};

}  // namespace

const std::vector<attack>& kernel_attacks() { return kernel_table; }

}  // namespace caged::attacks
