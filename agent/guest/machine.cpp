// Safe although it mounts and loads as root: it runs only as process 1 of a virtual machine that holds nothing else.
#include "guest/machine.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "log.hpp"

namespace caged::agent {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

std::string read_text(const std::string& path) {
  const fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char piece[4096];
  for (ssize_t n = 0; file && (n = ::read(file.get(), piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(n));
  return text;
}

void attach(const char* what, const char* where, const char* type, unsigned long flags = 0, const char* data = "") {
  ::mkdir(where, 0755);
  if (::mount(what, where, type, flags, data) != 0 && errno != EBUSY)
    throw os_failure(errno, std::string("mount ") + where);
}

// `/modules/order` names them, each behind what it needs.
void load_modules() {
  const std::string order = read_text("/modules/order");
  for (std::size_t at = 0; at < order.size();) {
    const std::size_t end = std::min(order.find('\n', at), order.size());
    const std::string path = "/modules/" + order.substr(at, end - at);
    at = end + 1;
    const fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file || (::syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST))
      throw os_failure(errno, "load " + path);
  }
}

// Disks are told apart by their serial, whatever order the bus finds them in.
std::string disk_named(const std::string& serial) {
  for (const auto until = clock::now() + 20s; clock::now() < until; ::usleep(5000)) {
    DIR* blocks = ::opendir("/sys/block");
    std::string found;
    while (const dirent* entry = blocks == nullptr ? nullptr : ::readdir(blocks)) {
      const std::string name = entry->d_name;
      if (name.rfind("vd", 0) == 0 && read_text("/sys/block/" + name + "/serial") == serial) found = "/dev/" + name;
    }
    if (blocks != nullptr) ::closedir(blocks);
    if (!found.empty() && ::access(found.c_str(), F_OK) == 0) return found;
  }
  throw failed("not_found", "no_disk", "the machine has no disk \"" + serial + "\"");
}

void loopback_up() {
  const fd s(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (!s || ::ioctl(s.get(), SIOCSIFFLAGS, &request) != 0) throw os_failure(errno, "bring the loopback up");
}

void mount_root() {
  const unsigned long plain = MS_NOSUID | MS_NODEV;
  ::mkdir("/image", 0755);
  ::mkdir("/disk", 0755);
  ::mkdir("/root", 0755);
  if (::mount(disk_named("caged-image").c_str(), "/image", "erofs", MS_RDONLY | MS_NODEV, "") != 0)
    throw os_failure(errno, "mount the image");
  // Not synced by a timer: what the disk holds is only ever looked at together with the memory.
  if (::mount(disk_named("caged-disk").c_str(), "/disk", "ext4", MS_NODEV | MS_NOATIME, "") != 0)
    throw os_failure(errno, "mount the disk");
  ::mkdir("/disk/upper", 0755);
  ::mkdir("/disk/work", 0755);
  if (::mount("box", "/root", "overlay", MS_NODEV,
              "lowerdir=/image,upperdir=/disk/upper,workdir=/disk/work,redirect_dir=on,index=off") != 0)
    throw os_failure(errno, "mount the root");
  attach("dev", "/root/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC);
  attach("pts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,gid=5,ptmxmode=666");
  attach("shm", "/root/dev/shm", "tmpfs", plain, "mode=1777");
  attach("proc", "/root/proc", "proc", plain | MS_NOEXEC);
  attach("sys", "/root/sys", "sysfs", plain | MS_NOEXEC | MS_RDONLY);
  attach("cgroup", "/root/sys/fs/cgroup", "cgroup2", plain | MS_NOEXEC, "favordynmods");
  attach("run", "/root/run", "tmpfs", plain, "mode=755");
  ::mkdir("/root/tmp", 01777);
  ::mkdir("/root/workspace", 0755);
  ::mkdir("/root/root", 0700);
}

}  // namespace

void enter_machine() {
  attach("dev", "/dev", "devtmpfs");
  const fd console(::open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC));
  for (int i = 0; console && i < 3; ++i) ::dup2(console.get(), i);
  log_line(log_level::info, "a machine starts");  // what proves to a probe that a guest runs
  attach("proc", "/proc", "proc");
  attach("sys", "/sys", "sysfs");
  load_modules();
  mount_root();
  for (const char* gone : {"/proc", "/sys", "/dev"}) ::umount2(gone, MNT_DETACH);
  if (::chdir("/root") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 ||
      ::chdir("/") != 0)
    throw os_failure(errno, "enter the root");
  loopback_up();
  ::symlink("/proc/self/fd", "/dev/fd");
  ::symlink("/proc/self/fd/0", "/dev/stdin");
  ::symlink("/proc/self/fd/1", "/dev/stdout");
  ::symlink("/proc/self/fd/2", "/dev/stderr");
}

workload_group::workload_group() {
  const fd root(::open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw os_failure(errno, "open the control groups");
  if (const fd control(::openat(root.get(), "cgroup.subtree_control", O_WRONLY | O_CLOEXEC)); control)
    [[maybe_unused]] const auto n = ::write(control.get(), "+pids", 5);
  if (::mkdirat(root.get(), "workload", 0755) != 0 && errno != EEXIST) throw os_failure(errno, "make a control group");
  folder_.reset(::openat(root.get(), "workload", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  procs_.reset(::openat(folder_.get(), "cgroup.procs", O_WRONLY | O_CLOEXEC));
  if (!folder_ || !procs_) throw os_failure(errno, "open the workloads' control group");
}

bool workload_group::write(const char* file, const std::string& text) const {
  const fd to(::openat(folder_.get(), file, O_WRONLY | O_CLOEXEC));
  return to && ::write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool workload_group::freeze() {
  if (!write("cgroup.freeze", "1")) return false;
  const fd events(::openat(folder_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  for (const auto until = clock::now() + 2s; events && clock::now() < until;) {
    char text[256];
    const ssize_t n = ::pread(events.get(), text, sizeof text - 1, 0);
    if (n > 0 && std::string_view(text, static_cast<std::size_t>(n)).find("frozen 1") != std::string_view::npos)
      return true;
    pollfd changed{events.get(), POLLPRI, 0};
    ::poll(&changed, 1, 50);
  }
  return false;
}

void workload_group::thaw() { write("cgroup.freeze", "0"); }

void workload_group::limit_tasks(std::uint32_t most) { write("pids.max", std::to_string(most)); }

fd open_port(const std::string& name) {
  for (const auto until = clock::now() + 20s; clock::now() < until; ::usleep(5000)) {
    DIR* ports = ::opendir("/sys/class/virtio-ports");
    std::string found;
    while (const dirent* entry = ports == nullptr ? nullptr : ::readdir(ports))
      if (read_text(std::string("/sys/class/virtio-ports/") + entry->d_name + "/name") == name + "\n")
        found = std::string("/dev/") + entry->d_name;
    if (ports != nullptr) ::closedir(ports);
    if (found.empty()) continue;
    fd port(::open(found.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (port) return port;
  }
  throw failed("not_found", "no_port", "the machine has no port \"" + name + "\"");
}

void leave_machine() {
  ::sync();
  ::reboot(RB_AUTOBOOT);
  for (;;) ::pause();
}

}  // namespace caged::agent
