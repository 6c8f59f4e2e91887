#include "file_evidence.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <set>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
constexpr auto look_interval = 500ms;
constexpr std::size_t kept_paths = 4096;   // for one box between two looks
constexpr std::size_t told_at_once = 500;  // facts of one look; the rest is told by folder
constexpr auto busy_cpu = 3ms;             // the agent alone uses less
constexpr const char* name_service = "/etc/nsswitch.conf";

bool is_scratch(const std::string& path) { return path.rfind("/dev/", 0) == 0 || path.rfind("/proc/", 0) == 0; }

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string read_link(const std::string& path) {
  char text[4096];
  const ssize_t n = ::readlink(path.c_str(), text, sizeof text);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

std::optional<std::uint64_t> mount_of(int dir, const char* path, int flags, struct statx& st) {
  if (::statx(dir, path, flags, STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0 || (st.stx_mask & STATX_MNT_ID) == 0)
    return std::nullopt;
  return st.stx_mnt_id;
}

}  // namespace

void file_evidence::open(settings s, event_sink* sink, exec_evidence* execs, std::function<void(std::string)> log) {
  settings_ = std::move(s);
  sink_ = sink;
  execs_ = execs;
  if (!settings_.on || sink_ == nullptr) return;
  marks_.reset(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_MARKS,
                               O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_LARGEFILE | O_NOATIME));
  if (!marks_ && ::geteuid() == 0)
    log(std::string("no fanotify: file changes are told by comparison, reads not at all: ") + std::strerror(errno));
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  closing_ = false;
  thread_ = std::thread([this] { run(); });
}

void file_evidence::close() {
  {
    const std::lock_guard lock(guard_);
    if (!thread_.joinable()) return;
    closing_ = true;
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  thread_.join();
  boxes_.clear();
  by_mount_.clear();
  marks_.reset();
  wake_.reset();
}

// Safe: the first process belongs to a box whose programs cannot mount; its mount points are where the launcher put
// them.
void file_evidence::mark_mounts(box& b) {
  if (!marks_) return;
  // Before 5.8 the kernel does not number mounts for us; then only the comparison is left.
  const std::string root = "/proc/" + std::to_string(b.what.first_pid) + "/root";
  std::vector<std::string> places{"/", "/run", "/dev/shm"};
  for (const auto& l : b.what.layers) places.push_back("/" + l.target);
  for (const auto& place : places) {
    unique_fd at(::open((root + place).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct statx st {};
    const auto mount = at ? mount_of(at.get(), "", AT_EMPTY_PATH, st) : std::nullopt;
    if (!mount || by_mount_.count(*mount) != 0) continue;
    if (::fanotify_mark(marks_.get(), FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_CLOSE_WRITE, AT_FDCWD,
                        (root + place).c_str()) != 0)
      continue;
    by_mount_[*mount] = b.what.first_pid;
    b.mounts.push_back(*mount);
  }
  for (const auto& path : settings_.sensitive) {
    if (path.rfind('/', 0) == 0) mark_sensitive(b, path);
  }
  mark_sensitive(b, name_service);
}

// No link is followed: a box that puts one in place of the file is told by the comparison.
void file_evidence::mark_sensitive(const box& b, const std::string& path) const {
  if (!marks_) return;
  const std::string full = "/proc/" + std::to_string(b.what.first_pid) + "/root" + path;
  (void)::fanotify_mark(marks_.get(), FAN_MARK_ADD | FAN_MARK_DONT_FOLLOW, FAN_OPEN, AT_FDCWD, full.c_str());
}

bool file_evidence::is_sensitive(const std::string& path) const {
  for (const auto& s : settings_.sensitive) {
    if (s == path || (s.rfind("*/", 0) == 0 && path.size() >= s.size() && path.ends_with(s.substr(1)))) return true;
  }
  return false;
}

void file_evidence::add(watched w) {
  if (!thread_.joinable()) return;
  const std::lock_guard lock(guard_);
  box& b = boxes_[w.first_pid];
  b.fs.reset(::fcntl(w.fs, F_DUPFD_CLOEXEC, 3));
  b.what = std::move(w);
  b.last = b.what.start;
  b.next_look = clock::now() + look_interval;
  mark_mounts(b);
}

void file_evidence::name(std::int64_t first_pid, const std::string& id, const manifest& start) {
  const std::lock_guard lock(guard_);
  const auto found = boxes_.find(first_pid);
  if (found == boxes_.end()) return;
  found->second.what.id = id;
  found->second.last = found->second.what.start = start;
}

void file_evidence::set_start(std::int64_t first_pid, const manifest& start) {
  const std::lock_guard lock(guard_);
  if (const auto found = boxes_.find(first_pid); found != boxes_.end()) found->second.what.start = start;
}

void file_evidence::remove(std::int64_t first_pid) {
  if (!thread_.joinable()) return;
  read_marks();
  const std::lock_guard lock(guard_);
  const auto found = boxes_.find(first_pid);
  if (found == boxes_.end()) return;
  if (!found->second.what.id.empty() && worth_looking(found->second)) look(found->second);
  for (const auto mount : found->second.mounts) by_mount_.erase(mount);
  boxes_.erase(found);
}

void file_evidence::run() {
  for (;;) {
    pollfd ready[2] = {{marks_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    (void)::poll(ready, 2, 250);
    if ((ready[0].revents & POLLIN) != 0) read_marks();
    const std::lock_guard lock(guard_);
    if (closing_) return;
    const auto now = clock::now();
    for (auto& [pid, b] : boxes_) {
      if (now < b.next_look || b.what.id.empty()) continue;
      b.next_look = now + look_interval;
      if (worth_looking(b)) look(b);
    }
  }
}

bool file_evidence::worth_looking(box& b) {
  if (!b.writes.empty() || !b.reads.empty()) return true;
  const auto used = b.what.cpu();
  if (!used) return true;  // cannot be told: look
  const bool busy = *used - b.cpu_then > busy_cpu;
  b.cpu_then = *used;
  if (!busy) b.next_look += 1s;
  return busy;
}

void file_evidence::read_marks() {
  if (!marks_) return;
  alignas(fanotify_event_metadata) char buffer[16 * 1024];
  for (;;) {
    const ssize_t n = ::read(marks_.get(), buffer, sizeof buffer);
    if (n <= 0) return;
    const std::lock_guard lock(guard_);
    ssize_t left = n;
    for (auto* m = reinterpret_cast<fanotify_event_metadata*>(buffer); FAN_EVENT_OK(m, left);
         m = FAN_EVENT_NEXT(m, left)) {
      if ((m->mask & FAN_Q_OVERFLOW) != 0) {
        event e;
        e.type = "error";
        e.data = {{"reason", "evidence_dropped"},
                  {"source", "files"},
                  {"message", "the kernel dropped file events; what changed is still told by comparison"}};
        for (auto& [pid, b] : boxes_) {
          if (b.what.id.empty()) continue;
          e.sandbox_id = b.what.id;
          sink_->publish(e);
          b.next_look = {};
        }
      }
      if (m->fd < 0) continue;
      const unique_fd file(m->fd);
      on_mark(file.get(), m->mask, m->pid);
    }
  }
}

void file_evidence::on_mark(int fd, std::uint64_t mask, std::int64_t host_pid) {
  struct statx st {};
  const auto mount = mount_of(fd, "", AT_EMPTY_PATH, st);
  const auto owner = mount ? by_mount_.find(*mount) : by_mount_.end();
  if (owner == by_mount_.end() || host_pid == ::getpid()) return;
  box& b = boxes_.at(owner->second);
  const std::string path = read_link("/proc/self/fd/" + std::to_string(fd));
  if (path.empty() || is_scratch(path)) return;
  const bool write = (mask & FAN_CLOSE_WRITE) != 0;
  if (!write && path == name_service) {
    if (b.lookups.size() > 256) b.lookups.clear();
    b.lookups[host_pid] = clock::now();
    return;
  }
  auto& kept = write ? b.writes : b.reads;
  const auto found = kept.find(path);
  if (found == kept.end() && kept.size() >= kept_paths) {
    ++b.beyond;
    return;
  }
  seen_write& w = found == kept.end() ? kept[path] : found->second;
  ++w.count;
  w.host_pid = host_pid;
  w.size = st.stx_size;
  w.mode = st.stx_mode & 07777;
  w.inode = st.stx_ino;
  if (w.by.path.empty()) w.by = execs_->program_of(b.what.token, host_pid);
  if (w.by.path.empty()) w.by.path = read_link("/proc/" + std::to_string(host_pid) + "/exe");
  if (write && is_sensitive(path)) mark_sensitive(b, path);
}

void file_evidence::tell(const box& b, const char* operation, const std::string& path, const seen_write* by,
                         json more) {
  event e;
  e.sandbox_id = b.what.id;
  e.type = "file_op";
  e.data = {
      {"source", "exec"}, {"witness", marks_ ? "fanotify" : "diff"}, {"operation", operation}, {"path", as_text(path)}};
  if (by != nullptr) {
    if (by->count > 1) e.data["count"] = by->count;
    if (!by->by.path.empty()) e.data["exe"] = as_text(by->by.path);
    if (by->by.pid > 0) e.data["pid"] = by->by.pid;
    if (!by->by.ancestors.empty()) e.data["ancestors"] = by->by.ancestors;
    e.data["size"] = by->size;
    e.data["mode"] = by->mode;
  }
  e.data.update(more);
  sink_->publish(std::move(e));
}

// Compares what there is with what there was; what differs is told with who wrote it, where that was seen.
void file_evidence::look(box& b) {
  const auto begun = clock::now();
  manifest now;
  std::vector<box_change> changes;
  {
    const box_files files = scan(b.fs.get(), b.what.layers);
    changes = difference(b.last, files);
    now = to_manifest(files);
  }
  std::map<std::uint64_t, std::string> gone;  // by inode: what is here under another name has moved
  for (const auto& c : changes) {
    const auto old = b.last.find(c.path);
    if (c.what == box_change::kind::deleted && old != b.last.end() && old->second.inode != 0)
      gone[old->second.inode] = c.path;
  }
  std::map<std::string, std::string> moved;  // new → old
  std::set<std::string> sources;
  for (const auto& c : changes) {
    if (c.what != box_change::kind::created) continue;
    const auto from = gone.find(now.at(c.path).inode);
    if (from == gone.end()) continue;
    moved[c.path] = from->second;
    sources.insert(from->second);
  }
  // Written under another name and then put in place, as package managers and careful editors do.
  std::map<std::uint64_t, const seen_write*> by_inode;
  for (const auto& [path, w] : b.writes)
    if (w.inode != 0) by_inode[w.inode] = &w;
  std::vector<std::string> answered;  // erased at the end: by_inode points at them
  std::size_t told = 0;
  folder_counts by_folder;
  for (const auto& c : changes) {
    if (sources.count(c.path) != 0) continue;
    const auto from = moved.find(c.path);
    const bool folder = now.count(c.path) != 0 && S_ISDIR(now.at(c.path).mode);
    const char* operation = from != moved.end()                    ? "rename"
                            : c.what == box_change::kind::deleted  ? "delete"
                            : c.what == box_change::kind::modified ? "write"
                            : folder                               ? "mkdir"
                                                                   : "create";
    const auto by = b.writes.find(c.path);
    const seen_write* who = by == b.writes.end() ? nullptr : &by->second;
    if (who == nullptr && now.count(c.path) != 0)
      if (const auto same = by_inode.find(now.at(c.path).inode); same != by_inode.end()) who = same->second;
    if (++told > told_at_once) {
      ++by_folder[{operation, folder_of(c.path)}];
    } else if (from != moved.end()) {
      tell(b, operation, from->second, who, {{"target", as_text(c.path)}});
    } else {
      json more = json::object();
      if (now.count(c.path) != 0 && !folder) more["mode"] = now.at(c.path).mode & 07777;  // as it is now, not as it was written
      if (who == nullptr && now.count(c.path) != 0) more = {{"size", c.size}, {"mode", now.at(c.path).mode & 07777}};
      if (c.what == box_change::kind::deleted)
        more["preexisting"] = b.what.start.count(c.path) != 0 || b.last.count(c.path) == 0;
      tell(b, operation, c.path, who, std::move(more));
    }
    if (by != b.writes.end()) answered.push_back(c.path);
  }
  for (const auto& path : answered) b.writes.erase(path);
  b.last = std::move(now);
  tell_rest(b, told, by_folder);
  // At most a twentieth of the time goes into looking.
  b.next_look = std::max(b.next_look, clock::now() + 20 * (clock::now() - begun));
}

// Written and gone again, or written as it was before; reads; and what was too much to be told one by one.
void file_evidence::tell_rest(box& b, std::size_t told, folder_counts& by_folder) {
  for (const auto& [path, w] : b.writes) {
    constexpr std::string_view deleted = " (deleted)";
    const bool unlinked = path.ends_with(deleted);
    const std::string name = unlinked ? path.substr(0, path.size() - deleted.size()) : path;
    const bool transient = unlinked || (b.last.count(name) == 0 && name.rfind("/run/", 0) != 0);
    if (++told > told_at_once)
      by_folder[{"write", folder_of(name)}] += w.count;
    else
      tell(b, "write", name, &w, transient ? json{{"transient", true}} : json::object());
  }
  const auto now = clock::now();
  for (const auto& [path, r] : b.reads) {
    const auto asked = b.lookups.find(r.host_pid);
    json more = json::object();
    if (asked != b.lookups.end() && now - asked->second < 10s) more["lookup"] = true;
    tell(b, "read", path, &r, std::move(more));
  }
  b.writes.clear();
  b.reads.clear();
  b.lookups.clear();
  for (const auto& [what, count] : by_folder)
    tell(b, what.first.c_str(), what.second, nullptr, {{"count", count}, {"coalesced", "folder"}});
  if (b.beyond != 0) tell(b, "write", "/", nullptr, {{"count", std::exchange(b.beyond, 0)}, {"coalesced", "sandbox"}});
}

}  // namespace caged::vmm::jail
