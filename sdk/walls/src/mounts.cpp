#include <caged/walls/mounts.hpp>

#include <fcntl.h>
#include <sys/stat.h>

namespace caged::walls {
namespace {

constexpr std::string_view wall = "mount";
constexpr unsigned at_here = AT_EMPTY_PATH;

}  // namespace

// Attributes are set on a mount that is attached nowhere yet: nobody can use it before they hold. Private, because a
// clone of a shared mount would carry what is mounted on it to the host.
void restrict_mount(int tree, std::uint64_t attributes, const std::string& what) {
  mount_attr attr{};
  attr.attr_set = attributes;
  attr.propagation = MS_PRIVATE;
  must(::mount_setattr(tree, "", at_here, &attr, sizeof attr), wall, "restrict " + what);
}

// Safe: `source` is a folder that the plugin chose; the clone is not recursive, so that nothing mounted below comes in.
unique_fd clone_tree(int dir, const char* path, const std::string& what) {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (path[0] == '\0' ? AT_EMPTY_PATH : 0u);
  return unique_fd(must(::open_tree(dir, path, flags), wall, "clone the mount of " + what));
}

// A fresh file system, attached nowhere. The mount API takes no option string that a path could break out of.
unique_fd fresh(const char* type, const std::vector<option>& options, std::uint64_t attributes) {
  unique_fd fs(must(::fsopen(type, FSOPEN_CLOEXEC), wall, std::string("open file system ") + type));
  for (const auto& o : options) {
    const int rc = o.value.empty() ? ::fsconfig(fs.get(), FSCONFIG_SET_FLAG, o.key, nullptr, 0)
                                   : ::fsconfig(fs.get(), FSCONFIG_SET_STRING, o.key, o.value.c_str(), 0);
    must(rc, wall, std::string(type) + " option " + o.key + "=" + o.value);
  }
  must(::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), wall, std::string("create ") + type);
  return unique_fd(must(::fsmount(fs.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)), wall,
                        std::string("mount ") + type));
}

// Safe: `target` is walked before the box runs anything, in folders that only the plugin has written so far.
void attach(int tree, int dir, const std::string& target) {
  must(::move_mount(tree, "", dir, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH), wall, "attach " + target);
}

void make_file(const std::string& path) {
  unique_fd fd(
      must(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644), wall, "create " + path));
}

covers make_covers() {
  covers c;
  c.folder.mount = fresh("tmpfs", {{"mode", "0555"}, {"size", "4k"}}, quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
  c.file.mount = clone_tree(AT_FDCWD, "/dev/null", "/dev/null");
  restrict_mount(c.file.mount.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "/dev/null");
  return c;
}

// Covers `path` for good: the box cannot unmount what was mounted before its capabilities were dropped.
void cover(covers& with, const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return;  // this kernel has no such file: nothing to hide
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) return;
  covers::source& from = S_ISDIR(st.st_mode) ? with.folder : with.file;
  if (!from.attached) {
    attach(from.mount.get(), AT_FDCWD, path);
    from.attached = true;
    return;
  }
  unique_fd copy = clone_tree(from.mount.get(), "", "a cover");
  attach(copy.get(), AT_FDCWD, path);
}

void freeze(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return;
  unique_fd tree = clone_tree(AT_FDCWD, path.c_str(), path);
  restrict_mount(tree.get(), quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, path);
  attach(tree.get(), AT_FDCWD, path);
}

// A fresh instance, of this PID namespace only. What remains in it that speaks about the whole machine is covered.
void attach_proc(covers& with, const std::string& root, const std::vector<option>& options) {
  const std::string proc = root + "/proc";
  unique_fd fs = fresh("proc", options, quiet | MOUNT_ATTR_NOEXEC);
  attach(fs.get(), AT_FDCWD, proc);
  for (const char* name : {"sys", "irq", "bus", "fs", "acpi", "sysrq-trigger", "driver", "tty", "pressure"})
    freeze(proc + "/" + name);
  for (const char* name :
       {"kcore",        "keys",      "key-users",     "latency_stats", "timer_list",    "timer_stats", "sched_debug",
        "scsi",         "kallsyms",  "kmsg",          "kpagecount",    "kpageflags",    "kpagecgroup", "modules",
        "vmallocinfo",  "slabinfo",  "iomem",         "ioports",       "interrupts",    "cmdline",     "config.gz",
        "mounts_debug", "asound",    "dynamic_debug", "acpi",          "sysrq-trigger", "diskstats",   "partitions",
        "swaps",        "buddyinfo", "pagetypeinfo",  "zoneinfo"}) {
    cover(with, proc + "/" + name);
  }
}

}  // namespace caged::walls
