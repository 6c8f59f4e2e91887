#include "launcher/observe.hpp"

#include "launcher/system.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace caged::vmm::jail {
namespace {

constexpr std::size_t argv_words = 256, argv_bytes = 16 * 1024, page = 4096;

struct exec_numbers {
  std::uint32_t arch, execve, execveat;
  bool wide;  // pointers of eight bytes
};
#if defined(__x86_64__)
constexpr exec_numbers architectures[] = {{AUDIT_ARCH_X86_64, 59, 322, true},
                                          {AUDIT_ARCH_X86_64, 0x40000000 + 520, 0x40000000 + 545, false},
                                          {AUDIT_ARCH_I386, 11, 358, false}};
#elif defined(__aarch64__)
constexpr exec_numbers architectures[] = {{AUDIT_ARCH_AARCH64, 221, 281, true}, {AUDIT_ARCH_ARM, 11, 387, false}};
#else
constexpr exec_numbers architectures[] = {{AUDIT_ARCH_RISCV64, 221, 281, true}};
#endif

std::string proc_path(pid_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::string read_link(const std::string& path) {
  std::string out(page, '\0');
  const ssize_t n = ::readlink(path.c_str(), out.data(), out.size());
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

std::string read_proc(const std::string& path) {
  unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string out(page, '\0');
  const ssize_t n = fd ? ::read(fd.get(), out.data(), out.size()) : 0;
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

std::size_t read_memory(pid_t pid, std::uint64_t address, void* to, std::size_t size) {
  iovec here{to, size};
  iovec there{reinterpret_cast<void*>(address), size};
  const ssize_t n = ::process_vm_readv(pid, &here, 1, &there, 1, 0);
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

// Pages are read one by one: the text may end right before memory that cannot be read.
std::string read_text(pid_t pid, std::uint64_t address, std::size_t limit, bool& cut) {
  std::string out;
  std::size_t piece_size = 256;
  while (out.size() < limit) {
    std::array<char, page> piece;
    const std::size_t size = std::min({piece_size, page - address % page, limit - out.size()});
    const std::size_t n = read_memory(pid, address, piece.data(), size);
    if (n == 0) return out;
    const void* end = std::memchr(piece.data(), 0, n);
    if (end != nullptr)
      return out.append(piece.data(), static_cast<std::size_t>(static_cast<const char*>(end) - piece.data()));
    out.append(piece.data(), n);
    address += n;
    piece_size = page;
  }
  cut = true;
  return out;
}

std::vector<std::uint64_t> read_pointers(pid_t pid, std::uint64_t address, bool wide, bool& cut) {
  std::vector<std::uint64_t> out;
  const std::size_t each = wide ? 8 : 4;
  while (out.size() < argv_words) {
    std::array<char, 256> piece;
    const std::size_t n =
        read_memory(pid, address, piece.data(), std::min<std::size_t>(piece.size(), page - address % page)) / each;
    if (n == 0) return out;
    for (std::size_t i = 0; i < n; ++i) {
      std::uint64_t pointer = 0;
      std::memcpy(&pointer, piece.data() + i * each, each);  // little endian, as all of these are
      if (pointer == 0) return out;
      out.push_back(pointer);
    }
    address += n * each;
  }
  cut = true;
  return out;
}

void read_argv(pid_t pid, std::uint64_t address, bool wide, seen_exec& out) {
  std::size_t left = argv_bytes;
  for (const std::uint64_t pointer : read_pointers(pid, address, wide, out.truncated)) {
    if (left == 0) {
      out.truncated = true;
      return;
    }
    out.argv.push_back(read_text(pid, pointer, left, out.truncated));
    left -= std::min(left, out.argv.back().size() + 1);
  }
}

// The last number of the line "Name:\t1 2 3" (or the first).
std::uint64_t status_number(const std::string& status, const char* name, bool last) {
  const auto at = status.find(name);
  if (at == std::string::npos) return 0;
  std::uint64_t value = 0;
  const char* from = status.data() + at + std::strlen(name);
  const char* end = status.data() + std::min(status.size(), status.find('\n', at + 1));
  while (from < end) {
    while (from < end && (*from < '0' || *from > '9')) ++from;
    if (from == end) break;
    from = std::from_chars(from, end, value).ptr;
    if (!last) break;
  }
  return value;
}

std::string kind_of_stdin(pid_t pid) {
  const std::string to = read_link(proc_path(pid, "fd/0"));
  if (to == "/dev/null") return "null";
  if (to.rfind("pipe:", 0) == 0) return "pipe";
  if (to.rfind("socket:", 0) == 0) return "socket";
  if (to.rfind("/dev/pts/", 0) == 0 || to == "/dev/tty") return "tty";
  return to.empty() ? "" : "file";
}

// Whether the box has such a file, seen with the box's own root. Only an answer of "no" that is certain counts: what
// leads through /proc means another thing to us.
bool is_missing(pid_t pid, const std::string& path) {
  if (path.empty() || path[0] != '/' || path.rfind("/proc", 0) == 0 || path.rfind("/dev", 0) == 0) return false;
  unique_fd root(::open(proc_path(pid, "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return false;
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  unique_fd file(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
  return !file && errno == ENOENT;
}

struct pidfd_facts {
  std::uint64_t mask, cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(pidfd_facts) == 64);
constexpr std::uint64_t pidfd_exit = 1u << 3;
constexpr unsigned long pidfd_get_info = _IOWR(0xFF, 11, pidfd_facts);

}  // namespace

unique_fd install_exec_filter() {
  std::vector<sock_filter> code;
  const auto allow = [&code] { code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)); };
  for (const auto& a : architectures) {
    code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, a.arch, 0, 4));
    code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, a.execve, 1, 0));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, a.execveat, 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  }
  allow();
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  constexpr unsigned listener = 1u << 3,
                     wait_killable = 1u << 5;  // SECCOMP_FILTER_FLAG_NEW_LISTENER, _WAIT_KILLABLE_RECV
  long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener | wait_killable, &program);
  if (fd < 0 && errno == EINVAL) fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener, &program);
  return unique_fd(must(static_cast<int>(fd), "evidence.exec", "install the filter that reports executions"));
}

seen_exec observe_exec(const seccomp_notif& n) {
  seen_exec out;
  const auto tid = static_cast<pid_t>(n.pid);
  const std::string status = read_proc(proc_path(tid, "status"));
  out.host_pid = static_cast<pid_t>(status_number(status, "\nTgid:", false));
  out.host_ppid = static_cast<pid_t>(status_number(status, "\nPPid:", false));
  out.pid = static_cast<pid_t>(status_number(status, "\nNStgid:", true));
  out.host_uid = static_cast<std::uint32_t>(status_number(status, "\nUid:", false));
  out.cwd = read_link(proc_path(tid, "cwd"));
  out.stdin_kind = kind_of_stdin(tid);
  bool at = false, wide = true, cut = false;
  for (const auto& a : architectures) {
    const auto number = static_cast<std::uint32_t>(n.data.nr);
    if (n.data.arch != a.arch || (number != a.execve && number != a.execveat)) continue;
    at = number == a.execveat;
    wide = a.wide;
  }
  const auto* arguments = n.data.args;
  out.path = read_text(tid, arguments[at ? 1 : 0], page, cut);
  read_argv(tid, arguments[at ? 2 : 1], wide, out);
  const int dir = static_cast<int>(arguments[0]);
  if (at && dir != AT_FDCWD && (out.path.empty() || out.path[0] != '/')) {
    const std::string base = read_link(proc_path(tid, ("fd/" + std::to_string(dir)).c_str()));
    out.path = out.path.empty() ? base : base + "/" + out.path;
  } else if (!out.path.empty() && out.path[0] != '/' && !out.cwd.empty()) {
    out.path = out.cwd + (out.cwd == "/" ? "" : "/") + out.path;
  }
  out.missing = is_missing(tid, out.path);
  return out;
}

std::string running_program(pid_t host_pid) { return read_link(proc_path(host_pid, "exe")); }

pid_t inside_number(pid_t host_pid) {
  return static_cast<pid_t>(status_number(read_proc(proc_path(host_pid, "status")), "\nNStgid:", true));
}

seen_end observe_end(int pidfd, pid_t host_pid) {
  // Field 52 of a zombie; its parent may reap it at any moment, then newer kernels keep the status with the descriptor.
  const std::string stat = read_proc(proc_path(host_pid, "stat"));
  pidfd_facts facts{};
  facts.mask = pidfd_exit;
  if (::ioctl(pidfd, pidfd_get_info, &facts) == 0 && (facts.mask & pidfd_exit) != 0) return {true, facts.exit_code};
  // Not reaped yet, so the number was still its own when it was read.
  if (::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) != 0) return {};
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos || stat.size() < name_end + 3 || stat[name_end + 2] != 'Z') return {};
  const auto last = stat.find_last_not_of("\n ");
  const auto before = stat.find_last_of(' ', last);
  int status = 0;
  const auto parsed = std::from_chars(stat.data() + before + 1, stat.data() + last + 1, status);
  return {parsed.ec == std::errc{}, status};
}

}  // namespace caged::vmm::jail
