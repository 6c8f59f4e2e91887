// Deletes and overwrites: every step works on an opened folder and a single name in it, so that a symlink swapped in
// between cannot lead a delete or a copy somewhere else.
#include "fs/change.hpp"

#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "exec/process_table.hpp"
#include "exec/users.hpp"
#include "fs/entry.hpp"

namespace caged::agent {
namespace {

constexpr int deepest_open = 100;  // folders held open at once

failed cancelled_failure() { return failed("cancelled", "cancelled", "the request was cancelled"); }

struct place {
  fd parent;
  std::string name, shown;
};

place place_of(const tree& files, const std::string& path) {
  place p;
  p.parent = files.open_parent(path, p.name);
  p.shown = files.shown(path);
  return p;
}

bool same(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Removing or moving the root of the box, or the workspace, is never what a caller wants.
void refuse_roots(const tree& files, const place& p, const struct stat& st, const char* what) {
  struct stat root {
  }, folder{};
  const bool at_root = ::stat("/", &root) == 0 && same(st, root);
  const bool at_folder = ::stat(files.folder().c_str(), &folder) == 0 && same(st, folder);
  if (p.name.empty() || at_root || at_folder)
    throw failed("permission_denied", "protected_path",
                 std::string(what) + " " + p.shown + ": this is the root or the workspace itself",
                 "Name what is inside it.", "/path");
}

struct stat look_at(const place& p) {
  struct stat st {};
  if (::fstatat(p.parent.get(), p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
    throw os_failure(errno, "stat " + p.shown);
  return st;
}

class remover {
 public:
  remover(int top, const std::atomic<bool>& cancelled) : top_(top), cancelled_(cancelled) {}

  void remove(int parent, const std::string& name, int depth) {
    if (cancelled_) throw cancelled_failure();
    if (::unlinkat(parent, name.c_str(), 0) == 0) return count_up();
    if (errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) throw os_failure(errno, "remove " + name);
    const int unlink_errno = errno;
    if (depth > deepest_open) {
      // Deeper than descriptors can be held: bring it up and remove it from there.
      const std::string lifted = random_name(".caged-remove-");
      if (::renameat(parent, name.c_str(), top_, lifted.c_str()) != 0) throw os_failure(errno, "remove " + name);
      lifted_.push_back(lifted);
      return;
    }
    {
      const fd folder = open_folder(parent, name);
      if (!folder) throw os_failure(errno == ENOTDIR || errno == ELOOP ? unlink_errno : errno, "remove " + name);
      bool more = true;
      while (more) {
        more = false;
        const auto names = names_in(folder.get(), 4096, more);
        for (const std::string& below : names) remove(folder.get(), below, depth + 1);
      }
    }
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      throw os_failure(errno, "remove the folder " + name);
    count_up();
  }

  void remove_lifted() {
    while (!lifted_.empty()) {
      const std::string name = std::move(lifted_.back());
      lifted_.pop_back();
      remove(top_, name, 0);
    }
  }

  std::uint64_t count() const noexcept { return count_; }

 private:
  void count_up() { ++count_; }
  int top_;
  const std::atomic<bool>& cancelled_;
  std::vector<std::string> lifted_;
  std::uint64_t count_ = 0;
};

void copy_bytes(int from, int to, const std::atomic<bool>& cancelled) {
  static constexpr std::size_t piece = 1u << 20;
  bool in_kernel = true;
  std::string buffer;
  for (;;) {
    if (cancelled) throw cancelled_failure();
    if (in_kernel) {
      const ssize_t n = ::copy_file_range(from, nullptr, to, nullptr, piece, 0);
      if (n > 0) continue;
      if (n == 0 && buffer.empty())
        in_kernel = false;  // files of /proc give nothing this way
      else if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != EPERM)
        throw os_failure(errno, "copy");
      in_kernel = false;
      continue;
    }
    buffer.resize(64u << 10);
    const ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0) throw os_failure(errno, "read while copying");
    if (n == 0) return;
    for (ssize_t done = 0; done < n;) {
      const ssize_t w = ::write(to, buffer.data() + done, static_cast<std::size_t>(n - done));
      if (w < 0) throw os_failure(errno, "write while copying");
      done += w;
    }
  }
}

class copier {
 public:
  explicit copier(const std::atomic<bool>& cancelled) : cancelled_(cancelled) {}

  // Makes `to_name` in `to`; nothing of that name may be there.
  void copy(int from, const std::string& name, int to, const std::string& to_name, int depth) {
    if (cancelled_) throw cancelled_failure();
    if (depth > deepest_open)
      throw failed("too_large", "too_deep", "folders nested deeper than 100 levels", "Copy a part of it.");
    struct stat st {};
    if (::fstatat(from, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) throw os_failure(errno, "copy " + name);
    if (S_ISDIR(st.st_mode)) return copy_folder(from, name, to, to_name, st, depth);
    if (S_ISLNK(st.st_mode)) {
      char target[PATH_MAX];
      const ssize_t n = ::readlinkat(from, name.c_str(), target, sizeof target - 1);
      if (n < 0) throw os_failure(errno, "copy the symlink " + name);
      target[n] = '\0';
      if (::symlinkat(target, to, to_name.c_str()) != 0) throw os_failure(errno, "copy the symlink " + name);
    } else if (S_ISREG(st.st_mode)) {
      copy_file(from, name, to, to_name, st);
    } else {
      throw failed("unsupported", "not_regular_file", "copy " + name + ": it is a " + type_name(st.st_mode),
                   "Only files, folders and symlinks are copied.");
    }
    ++count_;
  }
  std::uint64_t count() const noexcept { return count_; }

 private:
  void copy_file(int from, const std::string& name, int to, const std::string& to_name, const struct stat& st) {
    const fd source(::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!source) throw os_failure(errno, "open " + name);
    const fd target(::openat(to, to_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!target) throw os_failure(errno, "make " + to_name);
    copy_bytes(source.get(), target.get(), cancelled_);
    finish(target.get(), st);
  }

  void copy_folder(int from, const std::string& name, int to, const std::string& to_name, const struct stat& st,
                   int depth) {
    if (::mkdirat(to, to_name.c_str(), 0700) != 0) throw os_failure(errno, "make the folder " + to_name);
    const fd target = open_folder(to, to_name), source = open_folder(from, name);
    if (!target || !source) throw os_failure(errno, "open the folder " + name);
    if (depth == 0) ::fstat(target.get(), &made_);
    bool more = false;
    for (const std::string& below : names_in(source.get(), 1u << 20, more)) {
      struct stat inner {};
      // A folder copied into itself: what is being made is not copied again.
      if (::fstatat(source.get(), below.c_str(), &inner, AT_SYMLINK_NOFOLLOW) == 0 && same(inner, made_)) continue;
      copy(source.get(), below, target.get(), below, depth + 1);
    }
    finish(target.get(), st);
    ++count_;
  }

  static void finish(int made, const struct stat& st) {
    // Only root may give files away; the mode comes last because a change of owner clears its set-id bits.
    [[maybe_unused]] int ignored = ::geteuid() == 0 ? ::fchown(made, st.st_uid, st.st_gid) : 0;
    ignored = ::fchmod(made, st.st_mode & 07777);
    const timespec times[2] = {st.st_atim, st.st_mtim};
    ignored = ::futimens(made, times);
  }

  const std::atomic<bool>& cancelled_;
  struct stat made_ {};
  std::uint64_t count_ = 0;
};

void remove_quietly(int parent, const std::string& name) {
  static const std::atomic<bool> never = false;
  try {
    remover r(parent, never);
    r.remove(parent, name, 0);
    r.remove_lifted();
  } catch (const failed&) {
  }
}

// Copies beside the target and renames: whoever looks sees the old or the new one, never half.
std::uint64_t copy_into_place(const place& from, const place& to, unsigned flags, const std::atomic<bool>& cancelled) {
  const std::string temporary = random_name(".caged-copy-");
  copier c(cancelled);
  try {
    c.copy(from.parent.get(), from.name, to.parent.get(), temporary, 0);
    if (::renameat2(to.parent.get(), temporary.c_str(), to.parent.get(), to.name.c_str(), flags) != 0)
      throw os_failure(errno, "put " + to.shown + " in place");
  } catch (const failed&) {
    remove_quietly(to.parent.get(), temporary);
    throw;
  }
  return c.count();
}

struct two_places {
  place from, to;
  unsigned flags;
};

two_places source_and_target(const tree& files, const arguments& args) {
  const std::string target = args.path("to");
  if (args.flag("create_parents", false)) {
    const std::size_t slash = target.find_last_of('/');
    if (slash != std::string::npos && slash > 0) files.make_parents(target.substr(0, slash), 0755, -1, -1);
  }
  two_places p{place_of(files, args.path("from")), place_of(files, target), 0};
  if (p.from.name.empty() || p.to.name.empty())
    throw bad_argument(p.from.name.empty() ? "/from" : "/to", "this is the root itself");
  p.flags = args.flag("overwrite", true) ? 0 : RENAME_NOREPLACE;
  return p;
}

}  // namespace

json make_folder(const tree& files, const arguments& args) {
  const std::string path = args.path();
  const auto mode = static_cast<unsigned>(args.number("mode", 0, 07777, 0755));
  int uid = -1, gid = -1;
  if (args.has("user")) {
    const user owner = find_user(args.text("user"));
    uid = static_cast<int>(owner.uid);
    gid = static_cast<int>(owner.gid);
  }
  bool made = false;
  if (args.flag("parents", true)) {
    made = files.make_parents(path, mode, uid, gid) > 0;
  } else {
    const place p = place_of(files, path);
    if (::mkdirat(p.parent.get(), p.name.c_str(), mode) != 0) throw os_failure(errno, "make the folder " + p.shown);
    made = true;
  }
  json value{{"created", made}};
  put_path(value, "path", files.shown(path));
  return value;
}

json move_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const two_places p = source_and_target(files, args);
  refuse_roots(files, p.from, look_at(p.from), "move");
  if (::renameat2(p.from.parent.get(), p.from.name.c_str(), p.to.parent.get(), p.to.name.c_str(), p.flags) != 0) {
    if (errno != EXDEV) throw os_failure(errno, "move " + p.from.shown + " to " + p.to.shown);
    // Another device: the source goes only when the copy is whole and in its place.
    copy_into_place(p.from, p.to, p.flags, cancelled);
    remover r(p.from.parent.get(), cancelled);
    r.remove(p.from.parent.get(), p.from.name, 0);
    r.remove_lifted();
  }
  json value = json::object();
  put_path(value, "path", p.to.shown);
  return value;
}

json copy_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const two_places p = source_and_target(files, args);
  json value{{"entries", copy_into_place(p.from, p.to, p.flags, cancelled)}};
  put_path(value, "path", p.to.shown);
  return value;
}

json remove_entry(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const place p = place_of(files, args.path());
  struct stat st {};
  if (::fstatat(p.parent.get(), p.name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    if (errno == ENOENT && args.flag("missing_ok", false)) return json{{"removed", 0}};
    throw os_failure(errno, "remove " + p.shown);
  }
  refuse_roots(files, p, st, "remove");
  if (S_ISDIR(st.st_mode) && !args.flag("recursive", true)) {
    if (::unlinkat(p.parent.get(), p.name.c_str(), AT_REMOVEDIR) != 0) throw os_failure(errno, "remove " + p.shown);
    return json{{"removed", 1}};
  }
  remover r(p.parent.get(), cancelled);
  r.remove(p.parent.get(), p.name, 0);
  r.remove_lifted();
  return json{{"removed", r.count()}};
}

json change_mode(const tree& files, const arguments& args) {
  const std::string path = args.path();
  const auto mode = static_cast<mode_t>(args.number("mode", 0, 07777));
  const fd target = files.open(path, O_PATH);
  // fchmod refuses O_PATH descriptors; the magic link leads to exactly the file that was opened.
  if (::chmod(("/proc/self/fd/" + std::to_string(target.get())).c_str(), mode) != 0)
    throw os_failure(errno, "chmod " + files.shown(path));
  return json{{"mode", mode}};
}

json make_symlink(const tree& files, const arguments& args) {
  const place p = place_of(files, args.path());
  const std::string target = args.path("target");
  if (::symlinkat(target.c_str(), p.parent.get(), p.name.c_str()) != 0)
    throw os_failure(errno, "make the symlink " + p.shown);
  json value = json::object();
  put_path(value, "path", p.shown);
  return value;
}

}  // namespace caged::agent
