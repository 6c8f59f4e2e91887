#include <caged/walls/second_walls.hpp>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <caged/walls/unique_fd.hpp>

namespace caged::walls {
namespace {

struct ruleset_attr {
  std::uint64_t handled_access_fs, handled_access_net, scoped;
};
struct __attribute__((packed)) beneath_attr {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};

}  // namespace

// Newest first: an older kernel knows fewer rights, and refuses a ruleset that names one it does not know.
void confine_by_landlock(const std::vector<landlock_rule>& rules) {
  constexpr long create = 444, add_rule = 445, restrict_self = 446;
  const long abi = ::syscall(create, nullptr, 0, 1);
  if (abi < 1) fail_step("landlock", "ask for Landlock");
  ruleset_attr attr{};
  attr.handled_access_fs = (1ull << 13) - 1;  // ABI 1
  if (abi >= 2) attr.handled_access_fs |= 1ull << 13;  // REFER: link and rename between folders
  if (abi >= 3) attr.handled_access_fs |= 1ull << 14;  // TRUNCATE
  if (abi >= 5) attr.handled_access_fs |= 1ull << 15;  // IOCTL_DEV
  if (abi >= 6) attr.scoped = 3;  // abstract Unix sockets, signals
  const std::size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? 16 : 8;
  unique_fd ruleset(must(static_cast<int>(::syscall(create, &attr, size, 0)), "landlock", "create the ruleset"));
  for (const auto& r : rules) {
    unique_fd folder(must(::open(r.folder.c_str(), O_PATH | O_CLOEXEC), "landlock", "open " + r.folder));
    beneath_attr rule{attr.handled_access_fs & r.allowed, folder.get()};
    must(static_cast<int>(::syscall(add_rule, ruleset.get(), 1, &rule, 0)), "landlock", "allow " + r.folder);
  }
  must(static_cast<int>(::syscall(restrict_self, ruleset.get(), 0)), "landlock", "restrict");
}

// Compiled elsewhere, once; here it is only installed.
void filter_system_calls(int filter) {
  struct stat st {};
  must(::fstat(filter, &st), "seccomp", "read the filter's size");
  std::vector<sock_filter> program(static_cast<std::size_t>(st.st_size) / sizeof(sock_filter));
  const auto bytes = program.size() * sizeof(sock_filter);
  if (program.empty() || ::pread(filter, program.data(), bytes, 0) != static_cast<ssize_t>(bytes))
    fail_step("seccomp", "read the filter", EIO);
  sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
  must(static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)), "seccomp", "install the filter");
}

}  // namespace caged::walls
