#include "volume.hpp"

#include "files.hpp"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>

namespace caged::vmm::jail {
namespace {

constexpr ino_t subvolume_root = 256;  // of btrfs: the inode number of every subvolume's own folder

bool is_subvolume(int fd) noexcept {
  struct stat st {};
  return volume_kind_of(fd) == volume_kind::subvolume && ::fstat(fd, &st) == 0 && st.st_ino == subvolume_root;
}

template <class Arguments>
bool name_fits(Arguments& arguments, const std::string& name) noexcept {
  if (name.size() >= sizeof arguments.name) return false;
  std::memcpy(arguments.name, name.c_str(), name.size() + 1);
  return true;
}

result<unique_fd> open_volume(int dir, const std::string& name) {
  unique_fd fd(open_folder(dir, name.c_str()));
  if (!fd) return errno_error(errno, "open the volume " + name);
  return fd;
}

}  // namespace

volume_kind volume_kind_of(int dir) noexcept {
  struct statfs fs {};
  if (::fstatfs(dir, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC) return volume_kind::subvolume;
  return volume_kind::copy;
}

std::string_view to_string(volume_kind kind) noexcept {
  return kind == volume_kind::subvolume ? "btrfs" : "copy";
}

result<unique_fd> make_volume(int dir, const std::string& name) {
  if (volume_kind_of(dir) == volume_kind::subvolume) {
    btrfs_ioctl_vol_args arguments{};
    if (!name_fits(arguments, name)) return errno_error(ENAMETOOLONG, "name a volume");
    if (::ioctl(dir, BTRFS_IOC_SUBVOL_CREATE, &arguments) != 0)
      return errno_error(errno, "make the volume " + name, free_space);
  } else if (::mkdirat(dir, name.c_str(), 0755) != 0) {
    return errno_error(errno, "make the volume " + name, free_space);
  }
  auto fd = open_volume(dir, name);
  if (fd && ::fchmod(fd->get(), 0755) != 0) return errno_error(errno, "set the mode of the volume " + name);
  return fd;
}

result<void> copy_volume(int from, int dir, const std::string& name) {
  if (is_subvolume(from)) {
    btrfs_ioctl_vol_args_v2 arguments{};
    if (!name_fits(arguments, name)) return errno_error(ENAMETOOLONG, "name a volume");
    arguments.fd = from;
    if (::ioctl(dir, BTRFS_IOC_SNAP_CREATE_V2, &arguments) != 0)
      return errno_error(errno, "copy a volume to " + name, free_space);
    return {};
  }
  auto to = make_volume(dir, name);
  if (!to) return to.error();
  auto copied = copy_tree(from, to->get());
  if (!copied) (void)remove_volume(dir, name);
  return copied;
}

result<void> remove_volume(int dir, const std::string& name) {
  unique_fd volume(open_folder(dir, name.c_str()));
  if (volume && is_subvolume(volume.get())) {
    btrfs_ioctl_vol_args arguments{};
    // An ordinary user may not, unless the mount allows it: then file by file, and rmdir removes an empty subvolume.
    if (name_fits(arguments, name) && ::ioctl(dir, BTRFS_IOC_SNAP_DESTROY, &arguments) == 0) return {};
  }
  volume.reset();
  return remove_tree(dir, name);
}

}  // namespace caged::vmm::jail
