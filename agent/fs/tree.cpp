// Every path a client names is resolved here, in one place, against a directory handle. In a workspace the kernel does
// the confining (openat2 with RESOLVE_BENEATH); no string comparison decides whether a path is inside.
#include "fs/tree.hpp"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <climits>

namespace caged::agent {
namespace {

// Removes "//", "/./" and trailing slashes. ".." stays: only the kernel knows what it means behind a symlink.
std::string tidy(const std::string& path) {
  std::string out;
  std::size_t at = 0;
  if (!path.empty() && path[0] == '/') out = "/";
  while (at < path.size()) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, slash - at);
    if (!part.empty() && part != ".") {
      if (!out.empty() && out.back() != '/') out += '/';
      out += part;
    }
    at = slash + 1;
  }
  return out.empty() ? "." : out;
}

}  // namespace

tree::tree(std::string folder, confinement how) : folder_(tidy(folder)), how_(how) {
  root_.reset(::open(folder_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_ && how == confinement::workspace) throw os_failure(errno, "open the workspace " + folder_);
  if (!root_) {
    // A box whose workspace is not there yet: relative paths count from its root.
    folder_ = "/";
    root_.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
}

std::string tree::inside(const std::string& path) const {
  std::string clean = tidy(path);
  if (how_ != confinement::workspace || clean[0] != '/') return clean;
  if (clean == folder_) return ".";
  const std::string prefix = folder_ == "/" ? "/" : folder_ + "/";
  if (clean.rfind(prefix, 0) == 0) return clean.substr(prefix.size());
  throw failed("permission_denied", "outside_workspace", path + " is not inside the workspace " + folder_,
               "Use a path inside the workspace.", "/path");
}

std::string tree::shown(const std::string& path) const {
  const std::string clean = how_ == confinement::workspace ? inside(path) : tidy(path);
  if (clean[0] == '/') return clean;
  if (clean == ".") return folder_;
  return folder_ == "/" ? "/" + clean : folder_ + "/" + clean;
}

int tree::open_raw(const std::string& path, int flags, unsigned mode) const {
  // openat2 refuses O_PATH together with flags that mean nothing to it.
  flags |= (flags & O_PATH) != 0 ? O_CLOEXEC : O_CLOEXEC | O_NOCTTY;
  if (how_ == confinement::box) return ::openat(root_.get(), path.c_str(), flags, mode);
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    const auto got = ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how);
    // EAGAIN: a rename elsewhere raced with ".."; the kernel asks to try again.
    if (got >= 0 || errno != EAGAIN || attempt > 16) return static_cast<int>(got);
  }
}

fd tree::open(const std::string& path, int flags, unsigned mode) const {
  fd opened(open_raw(inside(path), flags, mode));
  if (!opened) throw os_failure(errno, "open " + shown(path));
  return opened;
}

fd tree::open_parent(const std::string& path, std::string& name) const {
  const std::string clean = inside(path);
  const std::size_t slash = clean.rfind('/');
  name = slash == std::string::npos ? clean : clean.substr(slash + 1);
  if (name == "..") throw bad_argument("/path", path + " ends in ..", "Name the file or folder itself.");
  if (name == ".") name.clear();
  std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : clean.substr(0, slash);
  fd opened(open_raw(parent, O_PATH | O_DIRECTORY, 0));
  if (!opened) throw os_failure(errno, "open the folder of " + shown(path));
  return opened;
}

int tree::make_parents(const std::string& path, unsigned mode, int owner, int group) const {
  const std::string clean = inside(path);
  int made = 0;
  std::size_t end = clean[0] == '/' ? 1 : 0;
  fd at(open_raw(clean[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY, 0));
  for (std::size_t begin = end; at && begin < clean.size(); begin = end + 1) {
    end = std::min(clean.find('/', begin), clean.size());
    const std::string so_far = clean.substr(0, end);
    fd next(open_raw(so_far, O_PATH | O_DIRECTORY, 0));
    if (!next && errno == ENOENT) {
      const std::string part = clean.substr(begin, end - begin);
      if (::mkdirat(at.get(), part.c_str(), mode) != 0 && errno != EEXIST)
        throw os_failure(errno, "make the folder " + so_far);
      next = fd(open_raw(so_far, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0));
      if (next && (owner >= 0 || group >= 0)) [[maybe_unused]]
        const int ignored = ::fchown(next.get(), static_cast<uid_t>(owner), static_cast<gid_t>(group));
      ++made;
    }
    if (!next) throw os_failure(errno, "open the folder " + so_far);
    at = std::move(next);
  }
  return made;
}

std::string tree::final_target(const std::string& path) const {
  std::string now = inside(path);
  for (int hops = 0; hops < 40; ++hops) {
    std::string name;
    const fd parent = open_parent(now, name);
    char target[PATH_MAX];
    const ssize_t n = name.empty() ? -1 : ::readlinkat(parent.get(), name.c_str(), target, sizeof target - 1);
    if (n < 0) return now;
    const std::string link(target, static_cast<std::size_t>(n));
    const std::size_t slash = now.rfind('/');
    now = inside(link[0] == '/' || slash == std::string::npos ? link : now.substr(0, slash + 1) + link);
  }
  throw os_failure(ELOOP, "follow " + shown(path));
}

}  // namespace caged::agent
