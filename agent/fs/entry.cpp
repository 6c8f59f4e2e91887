#include "fs/entry.hpp"

#include <dirent.h>
#include <limits.h>

#include <algorithm>
#include <cerrno>

#include "exec/users.hpp"

namespace caged::agent {
namespace {

constexpr std::size_t max_answer_bytes = 6u << 20;  // a message holds 8 MiB

std::string permissions(mode_t mode) {
  std::string text = S_ISDIR(mode)    ? "d"
                     : S_ISLNK(mode)  ? "l"
                     : S_ISREG(mode)  ? "-"
                     : S_ISFIFO(mode) ? "p"
                     : S_ISSOCK(mode) ? "s"
                                      : "c";
  for (int bit = 8; bit >= 0; --bit) text += (mode >> bit & 1) != 0 ? "xwr"[bit % 3] : '-';
  return text;
}

}  // namespace

const std::string& name_cache::user(uid_t uid) {
  auto [it, fresh] = users_.try_emplace(uid);
  if (fresh) it->second = user_name(uid);
  return it->second;
}

const std::string& name_cache::group(gid_t gid) {
  auto [it, fresh] = groups_.try_emplace(gid);
  if (fresh) it->second = group_name(gid);
  return it->second;
}

const char* type_name(mode_t mode) noexcept {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "symlink";
  if (S_ISFIFO(mode)) return "fifo";
  return S_ISSOCK(mode) ? "socket" : "device";
}

json describe_entry(int parent, const std::string& name, const std::string& shown_path, const struct stat& st,
                    name_cache& names) {
  json value = json::object();
  const std::size_t slash = shown_path.rfind('/');
  put_path(value, "name", slash + 1 < shown_path.size() ? shown_path.substr(slash + 1) : shown_path);
  put_path(value, "path", shown_path);
  value["type"] = type_name(st.st_mode);
  value["size"] = st.st_size;
  value["mode"] = st.st_mode & 07777;
  value["permissions"] = permissions(st.st_mode);
  value["uid"] = st.st_uid;
  value["gid"] = st.st_gid;
  value["owner"] = names.user(st.st_uid);
  value["group"] = names.group(st.st_gid);
  value["mod_time_unix_ms"] = std::int64_t{st.st_mtim.tv_sec} * 1000 + st.st_mtim.tv_nsec / 1000000;
  if (S_ISLNK(st.st_mode)) {
    char target[PATH_MAX];
    const ssize_t n = ::readlinkat(parent, name.c_str(), target, sizeof target);
    if (n >= 0) put_path(value, "symlink_target", std::string_view(target, static_cast<std::size_t>(n)));
  }
  return value;
}

json stat_entry(const tree& files, const arguments& args) {
  const std::string path = args.path();
  std::string name;
  const fd parent = files.open_parent(path, name);
  struct stat st {};
  name_cache names;
  if (args.flag("follow", false)) {
    const fd target = files.open(path, O_PATH);
    if (::fstat(target.get(), &st) != 0) throw os_failure(errno, "stat " + files.shown(path));
  } else if (::fstatat(parent.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    throw os_failure(errno, "stat " + files.shown(path), errno == ENOENT ? "Check the path with file.list." : "");
  }
  return describe_entry(parent.get(), name, files.shown(path), st, names);
}

std::vector<std::string> names_in(int folder, std::size_t limit, bool& more) {
  std::vector<std::string> names;
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (listing == nullptr) {
    if (copy >= 0) ::close(copy);
    throw os_failure(errno, "read the folder");
  }
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() >= limit) {
      more = true;
      break;
    }
    names.emplace_back(name);
  }
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

fd open_folder(int parent, const std::string& name) {
  return fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
}

namespace {

struct listing {
  std::size_t limit;
  const std::atomic<bool>& cancelled;
  name_cache names;
  json entries = json::array();
  std::size_t bytes = 0;
  bool truncated = false;
};

void list_folder(listing& l, int folder, const std::string& shown, int depth) {
  // All names, however few are shown: the first ones are the first in order.
  bool more = false;
  for (const std::string& name : names_in(folder, 1u << 20, more)) {
    if (l.cancelled || l.truncated || l.entries.size() >= l.limit || l.bytes > max_answer_bytes) {
      l.truncated = true;
      return;
    }
    struct stat st {};
    if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    const std::string path = shown == "/" ? "/" + name : shown + "/" + name;
    l.entries.push_back(describe_entry(folder, name, path, st, l.names));
    l.bytes += 300 + 2 * path.size();
    if (!S_ISDIR(st.st_mode) || depth <= 1) continue;
    const fd below = open_folder(folder, name);
    if (below) list_folder(l, below.get(), path, depth - 1);
  }
  l.truncated = l.truncated || more;
}

}  // namespace

json list_entries(const tree& files, const arguments& args, const std::atomic<bool>& cancelled) {
  const std::string path = args.path("path", ".");
  const auto limit = static_cast<std::size_t>(args.number("limit", 1, 20000, 10000));
  const int depth = static_cast<int>(args.number("depth", 1, max_walk_depth, 1));
  const fd folder = files.open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  listing l{limit, cancelled, {}, json::array(), 0, false};
  list_folder(l, folder.get(), files.shown(path), depth);
  json value = json::object();
  value["entries"] = std::move(l.entries);
  value["truncated"] = l.truncated;
  return value;
}

}  // namespace caged::agent
