#include "keeper.hpp"

#include "files.hpp"
#include "seccomp.hpp"
#include "volume.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cerrno>
#include <thread>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
constexpr std::size_t remembered = 4096;

error unknown_box(const std::string& id) {
  return fail(errc::not_found, "sandbox_not_found", "the jail has no box \"" + id + "\"",
              "List sandboxes with `caged ls`.");
}

result<unique_fd> open_or_make(const std::filesystem::path& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec) return errno_error(ec.value(), "make the folder " + path.string());
  unique_fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno_error(errno, "open the folder " + path.string());
  // Nobody else on the host may reach a box's files or its agent's socket.
  if (::fchmod(fd.get(), 0700) != 0) return errno_error(errno, "set the mode of " + path.string());
  return fd;
}

}  // namespace

keeper::keeper(settings options, host& from) : options_(std::move(options)), host_(from), root_(::geteuid() == 0) {}

result<void> keeper::open() {
  for (const auto& program : {options_.launcher, options_.agent}) {
    if (::access(program.c_str(), X_OK) != 0)
      return errno_error(errno, "find the program " + program.string(),
                         "Reinstall Caged, or correct plugins.vmm.jail.");
  }
  auto boxes = open_or_make(options_.data / "boxes");
  if (!boxes) return boxes.error();
  boxes_ = std::move(*boxes);
  // Two hosts on one folder would sweep each other's boxes. A host that was just killed may have a launcher between its
  // fork and its exec, which holds the lock for a moment longer.
  const auto until = std::chrono::steady_clock::now() + 1s;
  while (::flock(boxes_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR || (errno == EWOULDBLOCK && std::chrono::steady_clock::now() < until)) {
      std::this_thread::sleep_for(5ms);
      continue;
    }
    boxes_.reset();
    return fail(errc::conflict, "data_folder_in_use",
                "another host uses the folder " + (options_.data / "boxes").string(),
                "Stop it, or give this one a data folder of its own.");
  }
  auto trash = open_or_make(options_.data / "trash");
  if (!trash) return trash.error();
  trash_ = std::move(*trash);
  if (auto opened = open_snapshots(); !opened) return opened;
  auto from = prepare_host_template(options_.data / "templates", options_.source);
  if (!from) return from.error();
  template_ = std::move(*from);
  auto filter = compile_box_filter();
  if (!filter) return filter.error();
  filter_ = std::move(*filter);
  std::error_code ec;
  const auto where = std::filesystem::canonical(options_.data, ec).string();
  cgroups_ = cgroup_tree::find(options_.cgroup_root, "caged-" + sha256_hex(where).substr(0, 8));
  open_warm();
  if (auto opened = open_evidence(); !opened) return opened;
  open_limits();
  return {};
}

void keeper::close() {
  close_limits();
  warm_->close();
  close_evidence();
  cgroups_.remove_empty_places();  // succeeds only where no box lives
  const std::lock_guard lock(guard_);
  live_.clear();
  boxes_.reset();
  trash_.reset();
  snapshots_.reset();
  filter_.reset();
}

result<std::shared_ptr<box>> keeper::find(const std::string& id) {
  const std::lock_guard lock(guard_);
  const auto found = live_.find(id);
  if (found == live_.end()) return unknown_box(id);
  return found->second;
}

int keeper::take_slot() {
  const std::lock_guard lock(guard_);
  for (int slot = 0; slot < static_cast<int>(options_.max_boxes); ++slot) {
    if (slots_.insert(slot).second) return slot;
  }
  return -1;
}

void keeper::give_slot(int slot) {
  if (slot < 0) return;
  const std::lock_guard lock(guard_);
  slots_.erase(slot);
}

std::vector<std::string> keeper::accepted(const box_spec& spec) const {
  std::vector<std::string> out = options_.accept_missing;
  out.insert(out.end(), spec.accept_missing.begin(), spec.accept_missing.end());
  return out;
}

result<void> keeper::write_record(const box_record& record) const {
  unique_fd dir(open_folder(boxes_.get(), record.id.c_str()));
  if (!dir) return errno_error(errno, "open the sandbox's folder");
  return write_atomically(dir.get(), "box.json", to_text(record.to_json()));
}

result<void> keeper::release(const std::string& id, int pidfd, const box_cgroup& cgroup) {
  if (pidfd >= 0) ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  cgroup.kill_all();
  // The first process of a PID namespace is gone only when all its processes are.
  if (pidfd >= 0) {
    if (auto killed = kill_and_wait(pidfd, 10s); !killed) return killed;
  }
  if (auto removed = cgroup.remove(5s); !removed) return removed;
  // Moved away first, so that a half-removed folder is never taken for a box.
  const std::string name = id + "." + random_id("", 10);
  if (::renameat(boxes_.get(), id.c_str(), trash_.get(), name.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return errno_error(errno, "move the sandbox's folder away");
  }
  return empty_trash(name);
}

result<void> keeper::empty_trash(const std::string& name) {
  if (unique_fd folder(open_folder(trash_.get(), name.c_str())); folder) {
    if (auto removed = remove_volume(folder.get(), "fs"); !removed) return removed;
  }
  return remove_tree(trash_.get(), name);
}

result<void> keeper::destroy(const std::string& id) {
  std::shared_ptr<box> b;
  {
    const std::lock_guard lock(guard_);
    const auto found = live_.find(id);
    if (found == live_.end()) {
      if (gone_.count(id) != 0) return {};
      return unknown_box(id);
    }
    b = found->second;
  }
  box_cgroup cgroup;
  int slot = -1;
  {
    const std::lock_guard lock(b->guard);
    b->destroyed = true;
    cgroup = b->record.cgroup;
    slot = b->record.slot;
    b->oom_kills = cgroup.oom_kills().value_or(b->oom_kills);
  }
  files_.remove(b->record.process.pid);  // its last changes are told while they can be seen
  auto released = release(id, b->pidfd.get(), cgroup);
  (void)end_of(*b);  // our child: reap it
  if (!released) return released;
  end_evidence(b->record);
  give_slot(slot);
  const std::lock_guard lock(guard_);
  live_.erase(id);
  if (gone_.size() >= remembered) gone_.erase(gone_.begin());
  gone_.insert(id);
  return {};
}

box_end keeper::end_of(box& b) {
  const std::lock_guard lock(b.guard);
  if (!b.ended) {
    if (!b.adopted) {
      if (auto status = reap(b.pidfd.get())) {
        b.status = *status;
        b.waited = true;
      }
    }
    b.oom_kills = b.record.cgroup.oom_kills().value_or(b.oom_kills);
    b.ended = true;
  }
  box_end end;
  end.status = b.status;
  end.waited = b.waited;
  const bool killed = b.waited && WIFSIGNALED(b.status);
  if (b.destroyed)
    end.reason = "destroyed";
  else if (!b.waited)
    end.reason = "lost";
  else if (killed && WTERMSIG(b.status) == SIGKILL && b.oom_kills > 0)
    end.reason = "out_of_memory";
  else
    end.reason = killed ? "killed" : "exited";
  return end;
}

result<box_usage> keeper::usage(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  box_usage out;
  box_cgroup cgroup;
  bool walk_now = false;
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock((*b)->guard);
    cgroup = (*b)->record.cgroup;
    // Counting a million files at every question would cost more than the box: at most a twentieth of the time.
    walk_now = (*b)->disk_known == std::chrono::steady_clock::time_point{} ||
               now - (*b)->disk_known > std::max<std::chrono::steady_clock::duration>(1s, 20 * (*b)->disk_cost);
    out.disk_bytes = (*b)->disk_bytes;
  }
  cgroup.read_usage(out);
  if (!walk_now) return out;
  unique_fd dir(open_folder(boxes_.get(), id.c_str()));
  unique_fd fs(dir ? open_folder(dir.get(), "fs") : -1);
  if (!fs) return out;
  const std::uint64_t bytes = disk_usage(fs.get());
  const std::lock_guard lock((*b)->guard);
  (*b)->disk_bytes = bytes;
  (*b)->disk_known = std::chrono::steady_clock::now();
  (*b)->disk_cost = (*b)->disk_known - now;
  out.disk_bytes = bytes;
  return out;
}

result<void> keeper::pause(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  const std::lock_guard lock((*b)->guard);
  if (auto frozen = (*b)->record.cgroup.freeze(5s); !frozen) return frozen;
  (*b)->record.phase = "paused";
  return write_record((*b)->record);
}

result<void> keeper::resume(const std::string& id) {
  auto b = find(id);
  if (!b) return b.error();
  const std::lock_guard lock((*b)->guard);
  if (auto thawed = (*b)->record.cgroup.thaw(); !thawed) return thawed;
  (*b)->record.phase = "running";
  return write_record((*b)->record);
}

}  // namespace caged::vmm::jail
