// Safe although it mounts: everything happens in a mount namespace of its own, made private first.
#include "launcher/confine.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace caged::vmm::qemu {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

void write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  const bool done = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int err = errno;
  if (fd >= 0) ::close(fd);
  errno = err;
  if (!done) fail(std::string("write ") + path);
}

void own_namespaces(bool privileged) {
  const std::string uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
  int what = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (!privileged) what |= CLONE_NEWUSER;
  if (::unshare(what) != 0) fail("make namespaces");
  if (privileged) return;
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", uid + " " + uid + " 1");
  write_file("/proc/self/gid_map", gid + " " + gid + " 1");
}

void make_parents(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0755);
}

void show(const std::string& root, const shown& one) {
  const std::string to = root + one.to;
  struct stat st {};
  if (::stat(one.from.c_str(), &st) != 0) fail("show " + one.from);
  make_parents(to);
  if (S_ISDIR(st.st_mode)) {
    ::mkdir(to.c_str(), 0755);
  } else if (const int fd = ::open(to.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644); fd >= 0) {
    ::close(fd);
  }
  if (::mount(one.from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) fail("show " + one.from);
  // Flags that the mount below has may not be taken off without privilege; these only add.
  unsigned long flags = MS_BIND | MS_REMOUNT | MS_NOSUID;
  if (!one.device) flags |= MS_NODEV;
  if (!one.write) flags |= MS_RDONLY;
  if (::mount(nullptr, to.c_str(), nullptr, flags, nullptr) != 0) fail("guard " + one.from);
}

void own_root(const walls& w) {
  const std::string root = "/tmp";  // any folder that is everywhere: only this namespace sees what lies over it
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("part from the host's mounts");
  // What lies under /tmp itself has to be found before it is covered.
  std::vector<int> sources;
  std::vector<shown> parts = w.root;
  for (shown& one : parts) {
    const int fd = ::open(one.from.c_str(), O_PATH | O_CLOEXEC);
    if (fd < 0) fail("find " + one.from);
    one.from = "/proc/self/fd/" + std::to_string(fd);
    sources.push_back(fd);
  }
  if (::mount("root", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k") != 0) fail("make a root");
  for (const shown& one : parts) show(root, one);
  for (const int fd : sources) ::close(fd);
  if (::mount(nullptr, root.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
    fail("close the root");
  if (::chdir(root.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0) fail("enter the root");
  if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) fail("leave the host's root");
}

void limit(const walls& w, bool privileged) {
  const rlimit none{0, 0}, files{256, 256}, largest{w.largest_file, w.largest_file};
  const rlimit space{w.address_space, w.address_space}, threads{64, 64};
  if (::setrlimit(RLIMIT_AS, &space) != 0) fail("set limits");
  // Counted for each user: only one that has a single box can be held to it.
  if (privileged && ::setrlimit(RLIMIT_NPROC, &threads) != 0) fail("set limits");
  if (::setrlimit(RLIMIT_CORE, &none) != 0 || ::setrlimit(RLIMIT_NOFILE, &files) != 0) fail("set limits");
  if (w.largest_file != 0 && ::setrlimit(RLIMIT_FSIZE, &largest) != 0) fail("set limits");
}

void drop_powers(const walls& w, bool privileged) {
  for (int cap = 0; cap <= 63; ++cap) ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  if (privileged && (::setgroups(0, nullptr) != 0 || ::setresgid(w.uid, w.uid, w.uid) != 0 ||
                     ::setresuid(w.uid, w.uid, w.uid) != 0))
    fail("become the box's user");
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (::syscall(SYS_capset, &head, none) != 0) fail("drop capabilities");
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("forbid new privileges");
  // An ordinary user's next host knows its boxes by their descriptors, and has power over them anyway.
  if (privileged) ::prctl(PR_SET_DUMPABLE, 0);
}

// As the newest kernels know it; what an older one lacks is left away.
struct ruleset {
  std::uint64_t files = 0, net = 0, scoped = 0;
};

constexpr std::uint64_t reads =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

void allow(int rules, const std::string& path, std::uint64_t what) {
  landlock_path_beneath_attr rule{};
  rule.allowed_access = what;
  rule.parent_fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  const bool done =
      rule.parent_fd >= 0 && ::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  if (rule.parent_fd >= 0) ::close(rule.parent_fd);
  if (!done) fail("allow " + path + " with Landlock");
}

// Without Landlock in the kernel the other walls stand; `caged doctor` tells.
void landlock(const std::vector<shown>& parts) {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return;
  ruleset all;
  all.files = (1ull << 13) - 1;
  if (abi >= 2) all.files |= 1ull << 13;  // move between folders
  if (abi >= 3) all.files |= 1ull << 14;  // truncate
  if (abi >= 5) all.files |= 1ull << 15;  // device commands
  if (abi >= 4) all.net = 3;              // bind and connect TCP
  if (abi >= 6) all.scoped = 3;           // abstract sockets, signals
  const std::size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  const int rules = static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all, size, 0));
  if (rules < 0) fail("make Landlock rules");
  for (const shown& one : parts) {
    struct stat st {};
    if (::stat(one.to.c_str(), &st) != 0) fail("find " + one.to);
    std::uint64_t what = S_ISDIR(st.st_mode) ? reads : reads & ~std::uint64_t{LANDLOCK_ACCESS_FS_READ_DIR};
    if (one.write || one.device) what |= LANDLOCK_ACCESS_FS_WRITE_FILE;
    if (one.write && abi >= 3) what |= 1ull << 14;
    if (one.device && abi >= 5) what |= 1ull << 15;
    allow(rules, one.to, what);
  }
  if (::syscall(SYS_landlock_restrict_self, rules, 0) != 0) fail("raise Landlock");
  ::close(rules);
}

}  // namespace

void confine_machine(const walls& w) {
  const bool privileged = ::geteuid() == 0;
  own_namespaces(privileged);
  own_root(w);
  limit(w, privileged);
  drop_powers(w, privileged);
  landlock(w.root);
}

void confine_relay(const walls& w) {
  const bool privileged = ::geteuid() == 0;
  drop_powers(w, privileged);
  landlock({});
}

}  // namespace caged::vmm::qemu
