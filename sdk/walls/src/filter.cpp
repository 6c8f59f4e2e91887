#include <caged/walls/filter.hpp>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>

namespace caged::walls {
namespace {

using context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

// clone(2) and unshare(2) with any of these make a namespace; inside a new user namespace a process has every
// capability over kernel code that is reachable in no other way.
constexpr std::uint64_t namespace_bits =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

struct rules {
  scmp_filter_ctx filter;
  int err = 0;
  std::string where{};

  void note(int rc, const std::string& name) {
    // EDOM: this call does not exist on one of the architectures.
    if (rc == 0 || rc == -EDOM || err != 0) return;
    err = -rc;
    where = name;
  }

  void deny(const char* name, unsigned action_errno, std::vector<scmp_arg_cmp> when = {}) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;  // a call that this library does not know cannot be named in a filter
    const int rc = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(action_errno), number,
                                          static_cast<unsigned>(when.size()), when.data());
    note(rc, name);
  }
};

void deny_by_argument(rules& r) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t flag = 1ull << bit;
    if ((namespace_bits & flag) == 0) continue;
    r.deny("clone", EPERM, {SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)});
    r.deny("unshare", EPERM, {SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)});
  }
  r.deny("unshare", EPERM, {SCMP_A0(SCMP_CMP_MASKED_EQ, 0x80, 0x80)});  // time
  // Its flags lie in memory, which a filter cannot read: "no such call" sends the C library to clone(2).
  r.deny("clone3", ENOSYS);
  // Inject input into a terminal. The kernel looks at the low 32 bits only.
  r.deny("ioctl", EPERM, {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI)});
  r.deny("ioctl", EPERM, {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, 0x541C)});  // TIOCLINUX
  // Families: local sockets, the Internet's, and routing queries (the C library lists interfaces by them). Everything
  // else is kernel surface without a use here.
  for (int family = 3; family < AF_NETLINK; ++family) {
    if (family != AF_INET6) r.deny("socket", EAFNOSUPPORT, {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family))});
  }
  r.deny("socket", EAFNOSUPPORT, {SCMP_A0(SCMP_CMP_GT, AF_NETLINK)});
  r.deny("socket", EAFNOSUPPORT, {SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_NE, 0)});
  for (scmp_datum_t family : {AF_INET, AF_INET6}) {
    r.deny("socket", EPERM, {SCMP_A0(SCMP_CMP_EQ, family), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_RAW)});
    r.deny("socket", EPERM, {SCMP_A0(SCMP_CMP_EQ, family), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_PACKET)});
  }
}

// Calls newer than the library, which cannot name them; their numbers are the same on every architecture.
constexpr std::uint32_t newer_calls[] = {457 /* statmount */, 458 /* listmount */, 467 /* open_tree_attr */,
                                         470 /* listns */};

// Goes in front of the library's program, which begins by loading what it looks at.
std::vector<sock_filter> newer_calls_filter() {
  std::vector<sock_filter> out;
  out.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  out.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x3fffffff));  // x32 marks its numbers with bit 30
  for (const std::uint32_t number : newer_calls) {
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    out.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  return out;
}

}  // namespace

const std::vector<denied_call>& denied_calls() {
  static const std::vector<denied_call> table{
      {"mount", "changes the tree"},
      {"umount", "uncovers"},
      {"umount2", "uncovers"},
      {"pivot_root", "changes the root"},
      {"open_tree", "clones mounts"},
      {"move_mount", "changes the tree"},
      {"fsopen", "mounts"},
      {"fsconfig", "mounts"},
      {"fsmount", "mounts"},
      {"fspick", "remounts"},
      {"mount_setattr", "remounts"},
      {"setns", "enters namespaces"},
      {"bpf", "kernel programs"},
      {"perf_event_open", "observes the kernel"},
      {"userfaultfd", "stretches kernel races"},
      {"io_uring_setup", "system calls past this filter"},
      {"io_uring_enter", "system calls past this filter"},
      {"io_uring_register", "system calls past this filter"},
      {"keyctl", "keyrings are not in namespaces"},
      {"add_key", "keyrings are not in namespaces"},
      {"request_key", "keyrings are not in namespaces"},
      {"kexec_load", "replaces the kernel"},
      {"kexec_file_load", "replaces the kernel"},
      {"init_module", "kernel code"},
      {"finit_module", "kernel code"},
      {"delete_module", "kernel code"},
      {"create_module", "kernel code"},
      {"query_module", "kernel data"},
      {"get_kernel_syms", "kernel data"},
      {"reboot", "the machine"},
      {"swapon", "the machine"},
      {"swapoff", "the machine"},
      {"settimeofday", "the machine's clock"},
      {"clock_settime", "the machine's clock"},
      {"clock_settime64", "the machine's clock"},
      {"clock_adjtime", "the machine's clock"},
      {"clock_adjtime64", "the machine's clock"},
      {"adjtimex", "the machine's clock"},
      {"stime", "the machine's clock"},
      {"acct", "the machine"},
      {"quotactl", "the machine"},
      {"quotactl_fd", "the machine"},
      {"syslog", "the kernel's log"},
      {"iopl", "ports"},
      {"ioperm", "ports"},
      {"nfsservctl", "the kernel's NFS server"},
      {"vhangup", "terminals"},
      {"open_by_handle_at", "opens files past paths"},
      {"name_to_handle_at", "names files past paths"},
      {"lookup_dcookie", "kernel data"},
      {"uselib", "old loader"},
      {"ustat", "file systems by number"},
      {"sysfs", "kernel data"},
      {"_sysctl", "kernel settings"},
      {"vm86", "old CPU modes"},
      {"vm86old", "old CPU modes"},
      {"modify_ldt", "old CPU modes"},
      {"fanotify_init", "watches file systems"},
      {"move_pages", "other processes' memory"},
      {"migrate_pages", "other processes' memory"},
      {"mbind", "NUMA"},
      {"set_mempolicy", "NUMA"},
      {"set_mempolicy_home_node", "NUMA"},
      {"kcmp", "kernel addresses"},
      {"process_madvise", "other processes' memory"},
      {"pidfd_getfd", "other processes' descriptors"},
      {"memfd_secret", "memory that cannot be accounted"},
      {"afs_syscall", "unused"},
      {"security", "unused"},
      {"tuxcall", "unused"},
      {"vserver", "unused"},
      {"putpmsg", "unused"},
      {"getpmsg", "unused"},
  };
  return table;
}

unique_fd compile_filter() {
  context filter(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  if (!filter) fail_step("seccomp", "make a filter with libseccomp", ENOMEM);
  rules r{filter.get()};
  // 32-bit programs and x32 have other numbers for the same calls: the filter covers them; an architecture that it does
  // not know kills the process.
#if defined(__x86_64__)
  (void)seccomp_arch_add(filter.get(), SCMP_ARCH_X86);
  (void)seccomp_arch_add(filter.get(), SCMP_ARCH_X32);
#elif defined(__aarch64__)
  (void)seccomp_arch_add(filter.get(), SCMP_ARCH_ARM);
#endif
  for (const auto& call : denied_calls()) r.deny(std::string(call.name).c_str(), EPERM);
  deny_by_argument(r);
  if (r.err != 0) fail_step("seccomp", "write the filter: " + r.where, r.err);
  (void)seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree instead of a list, where the library can
  unique_fd file(::memfd_create("caged-filter", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) fail_step("seccomp", "make a memory file");
  const auto first = newer_calls_filter();
  const auto size = static_cast<ssize_t>(first.size() * sizeof(sock_filter));
  if (::write(file.get(), first.data(), static_cast<std::size_t>(size)) != size)
    fail_step("seccomp", "write the filter");
  const int rc = seccomp_export_bpf(filter.get(), file.get());
  if (rc != 0) fail_step("seccomp", "compile the filter", -rc);
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
    fail_step("seccomp", "seal the filter");
  return file;
}

}  // namespace caged::walls
