#include "fs/watch.hpp"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "fs/entry.hpp"

namespace caged::agent {
namespace {

constexpr std::string_view noise[] = {".git",          ".hg",        ".svn",   "node_modules", "bower_components",
                                      "target",        "dist",       "build",  "out",          "vendor",
                                      "venv",          ".venv",      "env",    "__pycache__",  ".mypy_cache",
                                      ".pytest_cache", ".tox",       ".cache", ".next",        ".nuxt",
                                      ".gradle",       ".terraform", ".idea",  ".ruff_cache",  "coverage"};

constexpr std::uint32_t watched_events = IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                         IN_DELETE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK | IN_DONT_FOLLOW;
// IN_DONT_FOLLOW would refuse the magic link the folder is reached by; the link's own target is fixed.
constexpr std::uint32_t add_events = watched_events & ~static_cast<std::uint32_t>(IN_DONT_FOLLOW);

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

bool well_known_noise(std::string_view name) noexcept {
  return std::find(std::begin(noise), std::end(noise), name) != std::end(noise);
}

folder_watch::folder_watch(loop& l, const tree& files, const std::string& path, watch_options options,
                           handler on_changes)
    : loop_(l),
      root_(files.open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK)),
      inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      shown_(files.shown(path)),
      options_(options),
      on_changes_(std::move(on_changes)),
      tokens_(2.0 * options.rate_limit) {
  if (!inotify_)
    throw failed("limit_exceeded", "too_many_watches", "the machine gives no further inotify instance",
                 "End other watches, or raise fs.inotify.max_user_instances.");
  add_folder("", false);
  if (paths_.empty())
    throw failed("limit_exceeded", "too_many_watches", "the machine gives no further inotify watch for " + shown_,
                 "End other watches, or raise fs.inotify.max_user_watches.");
  loop_.add(inotify_.get(), EPOLLIN, [this](std::uint32_t) { read_events(); });
}

folder_watch::~folder_watch() {
  loop_.cancel(timer_);
  if (inotify_) loop_.remove(inotify_.get());
}

void folder_watch::add_folder(const std::string& path, bool report) {
  // Folders still to do are kept here rather than on the stack: a box may nest them as deep as it likes.
  std::vector<std::string> todo{path};
  while (!todo.empty()) {
    const std::string now = std::move(todo.back());
    todo.pop_back();
    if (paths_.size() >= options_.max_folders) {
      ++dropped_;
      continue;
    }
    // Resolved below the root's handle, through no symlink of the last part.
    const fd folder(::openat(root_.get(), now.empty() ? "." : now.c_str(),
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!folder) continue;
    const int wd =
        ::inotify_add_watch(inotify_.get(), ("/proc/self/fd/" + std::to_string(folder.get())).c_str(), add_events);
    if (wd < 0) {
      ++dropped_;
      continue;
    }
    paths_[wd] = now;
    folders_[now] = wd;
    if (!options_.recursive && !report) continue;
    bool more = false;
    std::vector<std::string> names;
    try {
      names = names_in(folder.get(), 100000, more);
    } catch (const failed&) {
      continue;
    }
    for (const std::string& name : names) {
      struct stat st {};
      if (::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      // What was put into a new folder before its watch was there.
      if (report) note(join(now, name), "create");
      if (S_ISDIR(st.st_mode) && options_.recursive && !(options_.skip_well_known && well_known_noise(name)))
        todo.push_back(join(now, name));
    }
  }
}

void folder_watch::forget_folder(const std::string& path) {
  for (auto it = folders_.lower_bound(path); it != folders_.end() && it->first.rfind(path, 0) == 0;) {
    if (it->first.size() > path.size() && it->first[path.size()] != '/') {
      ++it;
      continue;
    }
    ::inotify_rm_watch(inotify_.get(), it->second);
    paths_.erase(it->second);
    it = folders_.erase(it);
  }
}

void folder_watch::read_events() {
  alignas(inotify_event) char buffer[16384];
  for (int round = 0; round < 16; ++round) {
    const ssize_t n = ::read(inotify_.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    for (ssize_t at = 0; at + static_cast<ssize_t>(sizeof(inotify_event)) <= n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      on_event(event->mask, event->cookie, event->wd, event->len > 0 ? event->name : "");
    }
  }
  // A move whose other half did not come along led out of the folder.
  moved_cookie_ = 0;
  schedule();
}

void folder_watch::on_event(std::uint32_t mask, std::uint32_t cookie, int wd, const std::string& name) {
  if ((mask & IN_Q_OVERFLOW) != 0) {
    ++dropped_;
    return;
  }
  const auto it = paths_.find(wd);
  if (it == paths_.end()) return;
  if ((mask & IN_IGNORED) != 0) {
    folders_.erase(it->second);
    paths_.erase(it);
    return;
  }
  if (name.empty()) return;  // about the folder itself: its parent says it too
  const std::string path = join(it->second, name);
  const bool folder = (mask & IN_ISDIR) != 0;
  if (folder && options_.skip_well_known && well_known_noise(name)) return;
  if ((mask & IN_CREATE) != 0)
    note(path, "create");
  else if ((mask & IN_MODIFY) != 0)
    note(path, "write");
  else if ((mask & IN_ATTRIB) != 0)
    note(path, "chmod");
  else if ((mask & IN_DELETE) != 0)
    note(path, "delete");
  else if ((mask & IN_MOVED_FROM) != 0) {
    moved_cookie_ = cookie;
    moved_from_ = path;
    if (folder) forget_folder(path);
    note(path, "rename");
  } else if ((mask & IN_MOVED_TO) != 0) {
    if (moved_cookie_ != 0 && moved_cookie_ == cookie) {
      const auto from = pending_.find(moved_from_);
      if (from != pending_.end() && from->second.operation == "rename") from->second.to = path;
    }
    note(path, "create");
  }
  if (folder && (mask & (IN_CREATE | IN_MOVED_TO)) != 0 && options_.recursive) add_folder(path, true);
}

void folder_watch::note(const std::string& path, const char* operation, std::string to) {
  const auto now = steady::now();
  const auto it = pending_.find(path);
  const std::string_view op = operation;
  if (it == pending_.end()) {
    if (pending_.size() >= options_.max_pending) {
      ++dropped_;
      return;
    }
    pending_[path] = pending{operation, std::move(to), now, now};
    return;
  }
  pending& p = it->second;
  p.last = now;
  if (op == "write" || op == "chmod") {
    if (p.operation == "chmod" || p.operation == "delete" || p.operation == "rename") p.operation = operation;
  } else if (op == "create") {
    if (p.operation == "delete")
      p.operation = "write";  // replaced: an editor's way of saving
    else if (p.operation == "rename")
      p.operation = "create";
  } else if (p.operation == "create" && op == "delete") {
    pending_.erase(it);  // came and went
  } else {
    p.operation = operation;
    p.to = std::move(to);
  }
}

void folder_watch::schedule() {
  if (timer_ != 0 || (pending_.empty() && dropped_ == 0)) return;
  const auto wait = std::max<std::chrono::milliseconds>(options_.debounce, std::chrono::milliseconds(1));
  timer_ = loop_.after(wait, [this] {
    timer_ = 0;
    flush();
  });
}

void folder_watch::flush() {
  const auto now = steady::now();
  if (options_.rate_limit > 0) {
    tokens_ = std::min(2.0 * options_.rate_limit,
                       tokens_ + std::chrono::duration<double>(now - refilled_).count() * options_.rate_limit);
    refilled_ = now;
  }
  std::vector<file_change> due;
  for (auto it = pending_.begin(); it != pending_.end();) {
    pending& p = it->second;
    const bool quiet = now - p.last >= options_.debounce || now - p.first >= options_.max_hold;
    if (!quiet || (options_.rate_limit > 0 && tokens_ < 1)) {
      ++it;
      continue;
    }
    tokens_ -= 1;
    file_change change{p.operation, it->first, p.to, 0, unix_ms()};
    struct stat st {};
    if (p.operation != "delete" && p.operation != "rename" &&
        ::fstatat(root_.get(), it->first.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
      change.size = static_cast<std::uint64_t>(st.st_size);
    due.push_back(std::move(change));
    it = pending_.erase(it);
  }
  const std::uint64_t dropped = std::exchange(dropped_, 0);
  schedule();
  // Last: the handler may end this watch.
  if (!due.empty() || dropped != 0) on_changes_(std::move(due), dropped);
}

}  // namespace caged::agent
