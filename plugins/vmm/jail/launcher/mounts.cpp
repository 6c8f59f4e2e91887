#include "launcher/mounts.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <cstring>

namespace caged::vmm::jail {
namespace {

constexpr std::string_view wall = "mount";
constexpr unsigned at_here = AT_EMPTY_PATH;
constexpr std::uint64_t quiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

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

struct option {
  const char* key;
  std::string value;
};

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

// Any folder of the host does as the anchor: it is covered in this namespace only.
std::string anchor_staging() {
  unique_fd stage = fresh("tmpfs", {{"mode", "0755"}, {"size", "64k"}}, quiet | MOUNT_ATTR_NOEXEC);
  for (const char* place : {"/tmp", "/mnt", "/var", "/usr"}) {
    if (::move_mount(stage.get(), "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) == 0) return place;
  }
  fail_step(wall, "attach the staging folder");
}

void attach_layers(const launch_spec& spec, const detached_trees& trees, const std::string& stage,
                   const std::string& root) {
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const auto& l = spec.layers[i];
    const std::string lower = stage + "/lower" + std::to_string(i);
    must(::mkdir(lower.c_str(), 0755), wall, "mkdir " + lower);
    // The lower mount has to be attached in this namespace for overlayfs on kernels before 6.15.
    attach(trees.layers[i].get(), AT_FDCWD, lower);
    const std::string own = stage + "/box/layers/" + l.folder;
    // Mounted with the box root's own credentials: overlayfs can do for the box only what the box's root may do.
    // userxattr: the trusted.* attributes belong to the host.
    unique_fd overlay = fresh(
        "overlay", {{"lowerdir", lower}, {"upperdir", own + "/upper"}, {"workdir", own + "/work"}, {"userxattr", ""}},
        quiet);
    attach(overlay.get(), AT_FDCWD, root + "/" + l.target);
  }
}

// Devices that are harmless in anybody's hands; bound from the host because no namespace may make device nodes.
void attach_dev(const launch_spec& spec, const std::string& root) {
  const std::string dev = root + "/dev";
  unique_fd fs = fresh("tmpfs", {{"mode", "0755"}, {"size", "64k"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  attach(fs.get(), AT_FDCWD, dev);
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
    const std::string target = dev + "/" + name;
    unique_fd tree = clone_tree(AT_FDCWD, (std::string("/dev/") + name).c_str(), std::string("/dev/") + name);
    restrict_mount(tree.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, target);
    make_file(target);
    attach(tree.get(), AT_FDCWD, target);
  }
  must(::mkdir((dev + "/pts").c_str(), 0755), wall, "mkdir /dev/pts");
  must(::mkdir((dev + "/shm").c_str(), 0755), wall, "mkdir /dev/shm");
  std::vector<option> pts_options{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"max", "256"}};
  if (spec.uid_base != 0) pts_options.push_back({"gid", "5"});  // an ordinary user has no group 5 to give
  unique_fd pts = fresh("devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  attach(pts.get(), AT_FDCWD, dev + "/pts");
  unique_fd shm = fresh("tmpfs", {{"mode", "1777"}, {"size", std::to_string(spec.shm_bytes)}}, quiet);
  attach(shm.get(), AT_FDCWD, dev + "/shm");
  constexpr std::pair<const char*, const char*> links[] = {{"pts/ptmx", "ptmx"},
                                                           {"/proc/self/fd", "fd"},
                                                           {"/proc/self/fd/0", "stdin"},
                                                           {"/proc/self/fd/1", "stdout"},
                                                           {"/proc/self/fd/2", "stderr"}};
  for (const auto& [to, name] : links) {
    must(::symlink(to, (dev + "/" + name).c_str()), wall, std::string("link /dev/") + name);
  }
  restrict_mount(fs.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, "/dev");
}

// What is put over things that nobody inside shall see: an empty folder and an empty file. Cloning a mount is several
// times cheaper than making a file system for each.
struct covers {
  unique_fd folder, file;
};

covers make_covers() {
  covers c;
  c.folder = fresh("tmpfs", {{"mode", "0555"}, {"size", "4k"}}, quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
  c.file = clone_tree(AT_FDCWD, "/dev/null", "/dev/null");
  restrict_mount(c.file.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "/dev/null");
  return c;
}

// Covers `path` for good: the box cannot unmount what was mounted before its capabilities were dropped.
void cover(const covers& with, const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return;  // this kernel has no such file: nothing to hide
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) return;
  unique_fd copy = clone_tree((S_ISDIR(st.st_mode) ? with.folder : with.file).get(), "", "a cover");
  attach(copy.get(), AT_FDCWD, path);
}

void freeze(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return;
  unique_fd tree = clone_tree(AT_FDCWD, path.c_str(), path);
  restrict_mount(tree.get(), quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, path);
  attach(tree.get(), AT_FDCWD, path);
}

// A fresh instance, of this PID namespace only. What remains in it that speaks about the whole machine is covered.
void attach_proc(const covers& with, const std::string& root) {
  const std::string proc = root + "/proc";
  unique_fd fs = fresh("proc", {{"hidepid", "invisible"}}, quiet | MOUNT_ATTR_NOEXEC);
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

// sysfs shows the box's own network namespace; what describes the machine's hardware and kernel is covered. Where
// the kernel refuses a fresh one (a container that masks its own), an empty folder is stricter still.
void attach_sys(const covers& with, const std::string& root) {
  const std::string sys = root + "/sys";
  try {
    unique_fd fs = fresh("sysfs", {}, quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
    attach(fs.get(), AT_FDCWD, sys);
    for (const char* name : {"firmware",
                             "kernel",
                             "module",
                             "fs",
                             "power",
                             "block",
                             "bus",
                             "dev",
                             "hypervisor",
                             "class/block",
                             "class/dmi",
                             "class/powercap",
                             "class/thermal",
                             "class/drm",
                             "class/vtconsole",
                             "devices/pci0000:00",
                             "devices/platform",
                             "devices/virtual/dmi",
                             "devices/virtual/powercap",
                             "devices/virtual/block",
                             "devices/virtual/thermal",
                             "devices/pnp0",
                             "devices/LNXSYSTM:00"}) {
      cover(with, sys + "/" + name);
    }
  } catch (const step_failure&) {
    unique_fd empty = fresh("tmpfs", {{"mode", "0555"}, {"size", "4k"}}, quiet | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
    attach(empty.get(), AT_FDCWD, sys);
  }
}

}  // namespace

detached_trees clone_trees(const launch_spec& spec, int box_folder, int agent_program) {
  detached_trees trees;
  trees.box = clone_tree(box_folder, "", "the box's folder");
  restrict_mount(trees.box.get(), quiet, "the box's folder");
  trees.agent = clone_tree(agent_program, "", "the agent's program");
  // Read-only, so that a box whose root owns the file on the host (an ordinary user's box) cannot rewrite the program
  // through /proc/1/exe.
  restrict_mount(trees.agent.get(), quiet | MOUNT_ATTR_RDONLY, "the agent's program");
  for (const auto& l : spec.layers) {
    trees.layers.push_back(clone_tree(AT_FDCWD, l.source.c_str(), l.source));
    restrict_mount(trees.layers.back().get(), quiet | MOUNT_ATTR_RDONLY, l.source);
  }
  return trees;
}

bool map_owners(const detached_trees& trees, int user_namespace) {
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(user_namespace);
  bool all = true;
  for (const auto& tree : trees.layers) all &= ::mount_setattr(tree.get(), "", at_here, &attr, sizeof attr) == 0;
  all &= ::mount_setattr(trees.agent.get(), "", at_here, &attr, sizeof attr) == 0;
  return all;
}

void enter_root(const launch_spec& spec, detached_trees trees, std::vector<std::string>&) {
  // Nothing we mount travels to the host, nothing the host mounts later comes here.
  must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), wall, "make the mount tree private");
  const std::string stage = anchor_staging();
  must(::mkdir((stage + "/box").c_str(), 0755), wall, "mkdir staging");
  must(::mkdir((stage + "/root").c_str(), 0755), wall, "mkdir staging");
  attach(trees.box.get(), AT_FDCWD, stage + "/box");
  const std::string root = stage + "/root";
  unique_fd root_tree = clone_tree(AT_FDCWD, (stage + "/box/root").c_str(), "the box's root");
  restrict_mount(root_tree.get(), quiet, "the box's root");
  attach(root_tree.get(), AT_FDCWD, root);
  attach_layers(spec, trees, stage, root);
  const covers with = make_covers();
  attach_proc(with, root);
  attach_sys(with, root);
  attach_dev(spec, root);
  unique_fd run = fresh("tmpfs", {{"mode", "0755"}, {"size", "16m"}}, quiet);
  attach(run.get(), AT_FDCWD, root + "/run");
  must(::mkdir((root + "/run/lock").c_str(), 01777), wall, "mkdir /run/lock");
  must(::mkdir((root + "/run/caged").c_str(), 0755), wall, "mkdir /run/caged");
  make_file(root + "/run/caged/agent");
  attach(trees.agent.get(), AT_FDCWD, root + "/run/caged/agent");

  must(::chdir(root.c_str()), wall, "chdir to the new root");
  must(sys_pivot_root(".", "."), wall, "pivot_root");
  // The old root now lies on top of the new one; detaching it takes the host's whole tree and the staging folder away.
  must(::umount2(".", MNT_DETACH), wall, "detach the host's tree");
  must(::chdir("/"), wall, "chdir to /");
}

}  // namespace caged::vmm::jail
