#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <cerrno>
#include <climits>
#include <memory>

namespace caged::vmm::jail {
namespace {

constexpr int removal_depth = 64;
constexpr int walk_depth = 512;

struct close_dir {
  void operator()(DIR* d) const noexcept { ::closedir(d); }
};
using dir_stream = std::unique_ptr<DIR, close_dir>;

// A stream of its own over the folder; `dir` stays usable.
dir_stream stream_of(int dir) {
  const int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return nullptr;
  dir_stream s(::fdopendir(copy));
  if (!s) ::close(copy);
  return s;
}

bool is_dots(const char* name) noexcept {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

struct removal {
  int top;               // folder that is being emptied
  std::uint64_t moved = 0;
  int err = 0;           // first failure
  bool again = false;    // something was moved up to `top`
};

void empty_folder(removal& r, int dir, int depth);

void remove_entry(removal& r, int dir, const char* name, int depth) {
  if (::unlinkat(dir, name, 0) == 0) return;
  if (errno != EISDIR && errno != EPERM && errno != EACCES) {
    if (errno != ENOENT && r.err == 0) r.err = errno;
    return;
  }
  const int unlink_error = errno;
  // Safe: the box is dead, so a folder cannot turn into a symlink between the checks; the bits only matter to an
  // ordinary user, who cannot empty a folder without them.
  unique_fd child(open_folder(dir, name));
  if (!child && errno == EACCES && ::fchmodat(dir, name, 0700, 0) == 0) child.reset(open_folder(dir, name));
  if (!child) {
    if (r.err == 0) r.err = errno == ENOTDIR ? unlink_error : errno;
    return;
  }
  (void)::fchmod(child.get(), 0700);
  if (depth >= removal_depth) {
    // Too deep to hold a descriptor for each level: its content is emptied from the top later.
    const std::string up = ".deep-" + std::to_string(r.moved++);
    if (::renameat(dir, name, r.top, up.c_str()) == 0)
      r.again = true;
    else if (r.err == 0)
      r.err = errno;
    return;
  }
  empty_folder(r, child.get(), depth + 1);
  if (::unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT && errno != ENOTEMPTY && r.err == 0) r.err = errno;
}

void empty_folder(removal& r, int dir, int depth) {
  dir_stream entries = stream_of(dir);
  if (!entries) {
    if (r.err == 0) r.err = errno;
    return;
  }
  while (const dirent* e = ::readdir(entries.get())) {
    if (!is_dots(e->d_name)) remove_entry(r, dir, e->d_name, depth);
  }
}

struct walker {
  const std::function<bool(const walk_entry&)>& visit;
  walk_result result{};
  std::string path{};

  void into(int dir, int depth) {
    dir_stream entries = stream_of(dir);
    if (!entries) return;
    const std::size_t length = path.size();
    while (const dirent* e = ::readdir(entries.get())) {
      if (is_dots(e->d_name)) continue;
      struct stat st {};
      if (::fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
      if (length != 0) path += '/';
      path += e->d_name;
      ++result.entries;
      const bool enter = visit(walk_entry{path, st});
      if (enter && S_ISDIR(st.st_mode)) descend(dir, e->d_name, depth);
      path.resize(length);
    }
  }

  void descend(int dir, const char* name, int depth) {
    if (depth >= walk_depth) {
      result.truncated = true;
      return;
    }
    unique_fd child(open_folder(dir, name));
    if (child)
      into(child.get(), depth + 1);
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
      result.truncated = true;
  }
};

}  // namespace

int open_folder(int dir, const char* name) noexcept {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int attempt = 0; attempt < 16; ++attempt) {
    const int fd = static_cast<int>(::syscall(SYS_openat2, dir, name, &how, sizeof how));
    if (fd >= 0 || errno != EAGAIN) return fd;  // EAGAIN: a rename went on meanwhile
  }
  return -1;
}

result<unique_fd> make_folder(int dir, const char* name, mode_t mode) {
  if (::mkdirat(dir, name, mode) != 0 && errno != EEXIST)
    return errno_error(errno, std::string("make the folder ") + name);
  unique_fd fd(open_folder(dir, name));
  if (!fd) return errno_error(errno, std::string("open the folder ") + name);
  if (::fchmod(fd.get(), mode) != 0) return errno_error(errno, std::string("set the mode of ") + name);
  return fd;
}

result<std::string> read_small_file_at(int dir, const char* name, std::size_t limit) {
  unique_fd fd(::openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return errno_error(errno, std::string("open ") + name);
  std::string text;
  char piece[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, std::string("read ") + name);
    if (n == 0) return text;
    text.append(piece, static_cast<std::size_t>(n));
    if (text.size() > limit)
      return fail(errc::too_large, "file_too_large", std::string(name) + " is larger than expected");
  }
}

result<std::string> read_small_file(const std::filesystem::path& path, std::size_t limit) {
  return read_small_file_at(AT_FDCWD, path.c_str(), limit);
}

result<void> write_atomically(int dir, const std::string& name, std::string_view text) {
  const std::string temporary = "." + name + ".new";
  unique_fd fd(::openat(dir, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno_error(errno, "create " + temporary);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write " + temporary, "Free space on the disk of the data folder.");
    done += static_cast<std::size_t>(n);
  }
  if (::renameat(dir, temporary.c_str(), dir, name.c_str()) != 0) return errno_error(errno, "replace " + name);
  return {};
}

result<void> remove_tree(int dir, const std::string& name) {
  unique_fd top(open_folder(dir, name.c_str()));
  if (!top && errno == EACCES && ::fchmodat(dir, name.c_str(), 0700, 0) == 0) top.reset(open_folder(dir, name.c_str()));
  if (!top) {
    if (errno == ENOENT) return {};
    if (::unlinkat(dir, name.c_str(), 0) == 0) return {};
    return errno_error(errno, "open " + name + " for removal");
  }
  removal r{top.get()};
  do {
    r.again = false;
    empty_folder(r, top.get(), 0);
  } while (r.again && r.err == 0);
  // A folder's stream may skip entries that were moved in meanwhile; a last pass sees them.
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  r.err = 0;
  empty_folder(r, top.get(), 0);
  if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  return errno_error(r.err != 0 ? r.err : errno, "remove " + name,
                     "Remove the folder by hand; it belongs to no sandbox any more.");
}

walk_result walk(int dir, const std::function<bool(const walk_entry&)>& visit) {
  walker w{visit};
  w.into(dir, 0);
  return w.result;
}

std::uint64_t disk_usage(int dir) {
  std::uint64_t total = 0;
  walk(dir, [&total](const walk_entry& e) {
    // A file with several names is shared out among them.
    const auto links = S_ISDIR(e.status.st_mode) ? 1u : static_cast<unsigned>(e.status.st_nlink);
    total += static_cast<std::uint64_t>(e.status.st_blocks) * 512 / (links == 0 ? 1 : links);
    return true;
  });
  return total;
}

}  // namespace caged::vmm::jail
