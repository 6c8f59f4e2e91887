#include "launcher/mounts.hpp"

#include <caged/walls/mounts.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <cstring>

namespace caged::vmm::jail {
namespace {

constexpr std::string_view wall = "mount";

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

// sysfs shows the box's own network namespace; what describes the machine's hardware and kernel is covered. Where
// the kernel refuses a fresh one (a container that masks its own), an empty folder is stricter still.
void attach_sys(covers& with, const std::string& root) {
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
  for (const auto& tree : trees.layers) all &= ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) == 0;
  all &= ::mount_setattr(trees.agent.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) == 0;
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
  covers with = make_covers();
  attach_proc(with, root, {{"hidepid", "invisible"}});
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
