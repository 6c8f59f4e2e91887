#include "launcher/owners.hpp"

#include "launcher/system.hpp"
#include "launcher/unique_fd.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace caged::vmm::jail {
namespace {

constexpr const char* ids = "userns";

void write_map(const std::string& path, const std::string& map) {
  unique_fd fd(must(::open(path.c_str(), O_WRONLY | O_CLOEXEC), ids, "open " + path));
  if (::write(fd.get(), map.data(), map.size()) != static_cast<ssize_t>(map.size())) fail_step(ids, "write " + path);
}

// A process that only holds a user namespace, and is gone when this is.
struct holder {
  pid_t pid = -1;
  ~holder() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);  // safe by number: it is our child and not reaped yet
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

}  // namespace

void map_box_owners(int tree, const launch_spec& spec) {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC), ids, "make a pipe");
  unique_fd read_end(ends[0]), write_end(ends[1]);
  holder h;
  h.pid = must(::fork(), ids, "fork");
  if (h.pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    const char done = ::unshare(CLONE_NEWUSER) == 0 ? '1' : '0';
    if (::write(write_end.get(), &done, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  write_end.reset();
  char done = '0';
  if (::read(read_end.get(), &done, 1) != 1 || done != '1') fail_step(ids, "make a user namespace for a map", EPERM);
  const std::string proc = "/proc/" + std::to_string(h.pid);
  const std::string map =
      std::to_string(spec.disk_base) + " " + std::to_string(spec.uid_base) + " " + std::to_string(spec.uid_count);
  write_map(proc + "/uid_map", map);
  write_map(proc + "/gid_map", map);
  unique_fd ns(must(::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC), ids, "open the map's user namespace"));
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(ns.get());
  must(::mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr), "mount", "map the owners of the box's files");
}

}  // namespace caged::vmm::jail
