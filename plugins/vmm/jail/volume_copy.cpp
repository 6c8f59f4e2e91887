// A folder copied faithfully, from descriptors only: what lies in it was written by a box.
#include "files.hpp"
#include "volume.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace caged::vmm::jail {
namespace {

constexpr int deepest = 512;

std::string magic_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

struct copier {
  unique_fd top;                                                       // of the copy
  std::map<std::pair<dev_t, ino_t>, std::string> named{};  // files with several names → where the copy lies below top
  std::string path{};

  result<void> failed(const char* what) const { return errno_error(errno, what + (" " + path), free_space); }

  // Names of the kernel's own security modules are not ours to copy; whatever else the file has goes along.
  result<void> attributes(int from, int to) {
    const std::string source = magic_path(from), target = magic_path(to);
    std::vector<char> names(65536), value(65536);
    const ssize_t length = ::listxattr(source.c_str(), names.data(), names.size());
    if (length < 0) return errno == ENOTSUP ? result<void>{} : failed("read the attributes of");
    for (const char* name = names.data(); name < names.data() + length; name += std::strlen(name) + 1) {
      if (std::strncmp(name, "security.", 9) == 0 && std::strcmp(name, "security.capability") != 0) continue;
      if (std::strncmp(name, "trusted.", 8) == 0) continue;
      const ssize_t size = ::getxattr(source.c_str(), name, value.data(), value.size());
      if (size < 0) return failed("read an attribute of");
      if (::setxattr(target.c_str(), name, value.data(), static_cast<std::size_t>(size), 0) != 0)
        return failed("write an attribute of");
    }
    return {};
  }

  result<void> data(int from, int to, off_t size) {
    if (::ioctl(to, FICLONE, from) == 0) return {};
    off_t at = 0;
    while (at < size) {
      const off_t begin = ::lseek(from, at, SEEK_DATA);
      if (begin < 0 && errno == ENXIO) break;  // a hole up to the end
      if (begin < 0) return failed("read");
      const off_t end = std::min(::lseek(from, begin, SEEK_HOLE), size);
      off_t in = begin, out = begin;
      while (in < end) {
        const ssize_t n = ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(end - in), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("copy");
        if (n == 0) break;
      }
      if (in < end) break;  // it became shorter
      at = end;
    }
    if (::ftruncate(to, size) != 0) return failed("set the size of");
    return {};
  }

  // Owners before modes: a change of owner takes set-id bits away.
  result<void> dress(int from, int to, const struct stat& st) {
    if (::fchown(to, st.st_uid, st.st_gid) != 0 && errno != EPERM) return failed("set the owner of");
    if (auto done = attributes(from, to); !done) return done;
    if (::fchmod(to, st.st_mode & 07777) != 0) return failed("set the mode of");
    const timespec times[2] = {st.st_atim, st.st_mtim};
    if (::futimens(to, times) != 0) return failed("set the times of");
    return {};
  }

  result<void> file(int from_dir, int to_dir, const char* name, const struct stat& st) {
    if (st.st_nlink > 1) {
      const auto [known, fresh] = named.try_emplace({st.st_dev, st.st_ino}, path);
      if (!fresh) {
        if (::linkat(top.get(), known->second.c_str(), to_dir, name, 0) != 0) return failed("link");
        return {};
      }
    }
    unique_fd from(::openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!from) return failed("open");
    unique_fd to(::openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!to) return failed("create");
    if (auto done = data(from.get(), to.get(), st.st_size); !done) return done;
    return dress(from.get(), to.get(), st);
  }

  result<void> special(int from_dir, int to_dir, const char* name, const struct stat& st) {
    if (S_ISLNK(st.st_mode)) {
      std::vector<char> target(65536);
      const ssize_t n = ::readlinkat(from_dir, name, target.data(), target.size() - 1);
      if (n < 0 || ::symlinkat(std::string(target.data(), static_cast<std::size_t>(n)).c_str(), to_dir, name) != 0)
        return failed("copy the link");
    } else if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == 0)) {
      // A FIFO, or what an overlay puts for a deleted name: the one device a box can make, and it opens nothing.
      if (::mknodat(to_dir, name, st.st_mode, 0) != 0) return failed("copy");
    } else {
      return {};
    }
    if (::fchownat(to_dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0 && errno != EPERM)
      return failed("set the owner of");
    const timespec times[2] = {st.st_atim, st.st_mtim};
    (void)::utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
    if (S_ISFIFO(st.st_mode) && ::fchmodat(to_dir, name, st.st_mode & 07777, 0) != 0) return failed("set the mode of");
    return {};
  }

  result<void> entry(int from_dir, int to_dir, const char* name, int depth) {
    struct stat st {};
    if (::fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      return errno == ENOENT ? result<void>{} : failed("look at");
    if (S_ISREG(st.st_mode)) return file(from_dir, to_dir, name, st);
    if (!S_ISDIR(st.st_mode)) return special(from_dir, to_dir, name, st);
    if (depth >= deepest) {
      errno = ELOOP;
      return failed("copy the deep folder");
    }
    unique_fd from(open_folder(from_dir, name));
    if (!from) return failed("open");
    if (::mkdirat(to_dir, name, 0700) != 0) return failed("make");
    unique_fd to(open_folder(to_dir, name));
    if (!to) return failed("open");
    if (auto done = folder(from.get(), to.get(), depth + 1); !done) return done;
    return dress(from.get(), to.get(), st);
  }

  result<void> folder(int from, int to, int depth) {
    const int copy = ::openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return failed("read");
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy), &::closedir);
    if (!entries) return failed("read");
    const std::size_t length = path.size();
    while (const dirent* e = ::readdir(entries.get())) {
      const std::string name = e->d_name;
      if (name == "." || name == "..") continue;
      path += (length == 0 ? "" : "/") + name;
      if (auto done = entry(from, to, name.c_str(), depth); !done) return done;
      path.resize(length);
    }
    return {};
  }
};

}  // namespace

result<void> copy_tree(int from, int to) {
  copier c{unique_fd(::openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  if (!c.top) return errno_error(errno, "open the copy");
  struct stat st {};
  if (::fstat(from, &st) != 0) return errno_error(errno, "look at the volume");
  if (auto done = c.folder(from, to, 0); !done) return done;
  return c.dress(from, to, st);
}

}  // namespace caged::vmm::jail
