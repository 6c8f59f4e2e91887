// Limits that boxes hit: each becomes a fact, and a disk that is full stops whoever fills it.
#include "files.hpp"
#include "keeper.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <fstream>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
constexpr auto pace = 250ms;
constexpr auto told_again = 10s;
// A box that used no processor wrote nothing: looking at a thousand idle ones every second would cost more than they do.
constexpr std::chrono::microseconds busy{5'000};
constexpr std::uint64_t bytes_per_file = 4096;
constexpr std::uint64_t least_files = 65'536;

std::uint64_t most_files(std::uint64_t disk_bytes) { return std::max(least_files, disk_bytes / bytes_per_file); }

std::vector<pid_t> members(const box_cgroup& group) {
  std::vector<pid_t> out;
  for (const char* controller : {"unified", "pids", "memory", "cpu"}) {
    const auto folder = group.folders.find(controller);
    if (folder == group.folders.end()) continue;
    std::ifstream in(folder->second + "/cgroup.procs");
    for (pid_t pid = 0; in >> pid;) out.push_back(pid);
    if (!out.empty()) break;
  }
  return out;
}

struct disk_use {
  std::uint64_t bytes = 0, files = 0;
};

disk_use count_disk(int fs) {
  disk_use out;
  out.files = walk(fs, [&out](const walk_entry& e) {
                out.bytes += static_cast<std::uint64_t>(e.status.st_blocks) * 512;
                return true;
              }).entries;
  return out;
}

}  // namespace

// The hard limit stays what the disk is: a host without CAP_SYS_RESOURCE could never raise it again.
void limit_file_size(pid_t pid, std::uint64_t bytes, std::uint64_t most) {
  const rlimit limit{bytes, most};
  (void)::prlimit(pid, RLIMIT_FSIZE, &limit, nullptr);
}

void keeper::open_limits() {
  limits_thread_ = std::thread([this] {
    std::unique_lock lock(limits_guard_);
    while (!limits_changed_.wait_for(lock, pace, [this] { return limits_closing_; })) {
      lock.unlock();
      look_at_limits();
      lock.lock();
    }
  });
}

void keeper::close_limits() {
  {
    const std::lock_guard lock(limits_guard_);
    limits_closing_ = true;
    limits_changed_.notify_one();
  }
  if (limits_thread_.joinable()) limits_thread_.join();
}

void keeper::look_at_limits() {
  std::vector<std::shared_ptr<box>> boxes;
  {
    const std::lock_guard lock(guard_);
    for (const auto& [id, b] : live_) boxes.push_back(b);
  }
  for (const auto& b : boxes) {
    const std::lock_guard lock(b->guard);
    if (b->destroyed || b->ended || b->record.phase != "running") continue;
    const auto cpu = b->record.cgroup.cpu();
    if (cpu && *cpu - b->limits.cpu < busy && !b->limits.disk_full) continue;
    if (cpu) b->limits.cpu = *cpu;
    look_at_counters(*b);
    look_at_disk(*b);
  }
}

void keeper::tell_limit(box& b, const std::string& limit, json more) {
  auto& told = b.limits.told[limit];
  const auto now = std::chrono::steady_clock::now();
  if (told != std::chrono::steady_clock::time_point{} && now - told < told_again) return;
  told = now;
  auto* sink = host_.service<event_sink>();
  if (sink == nullptr) return;
  event e;
  e.sandbox_id = b.id;
  e.type = "error";
  e.time_us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
                  .count();
  e.data = {{"phase", "limit"}, {"limit", limit}, {"reason", limit + "_limit"}};
  e.data.update(more);
  sink->publish(std::move(e));
}

void keeper::look_at_counters(box& b) {
  if (const auto kills = b.record.cgroup.oom_kills(); kills && *kills > b.limits.oom_kills) {
    tell_limit(b, "memory",
               {{"count", *kills - b.limits.oom_kills},
                {"message", "the sandbox has used all its memory: the kernel ended a process in it"},
                {"action", "Give it more memory."}});
    b.limits.oom_kills = *kills;
  }
  if (const auto forks = b.record.cgroup.refused_forks(); forks && *forks > b.limits.refused_forks) {
    tell_limit(b, "processes",
               {{"count", *forks - b.limits.refused_forks},
                {"message", "the sandbox has as many processes as it may have: a further one was refused"},
                {"action", "End some, or raise limits.max_processes."}});
    b.limits.refused_forks = *forks;
  }
}

void keeper::look_at_disk(box& b) {
  const std::uint64_t most = b.record.disk_limit;
  const auto now = std::chrono::steady_clock::now();
  if (most == 0 || now < b.limits.disk_next) return;
  auto fs = open_fs(b.id);
  if (!fs) return;
  const disk_use used = count_disk(fs->get());
  const auto after = std::chrono::steady_clock::now();
  b.disk_bytes = used.bytes;
  b.disk_known = after;
  b.disk_cost = after - now;
  b.limits.disk_next = after + std::max<std::chrono::steady_clock::duration>(pace, 10 * (after - now));
  if (used.files > most_files(most)) {
    end_fillers(b);
    tell_limit(b, "files",
               {{"files", used.files},
                {"most", most_files(most)},
                {"message", "the sandbox has more files than its disk has room for: its processes were ended"},
                {"action", "Delete files, or give it more disk."}});
  }
  // Programs may raise their own limit again, up to the hard one; then they end.
  if (used.bytes > most + most / 8) end_fillers(b);
  const bool full = used.bytes >= most;
  if (full && !b.limits.disk_full)
    tell_limit(b, "disk",
               {{"bytes", used.bytes},
                {"most", most},
                {"message", "the sandbox's disk is full: no file in it can grow until some are deleted"},
                {"action", "Delete files, or give it more disk."}});
  const bool room = used.bytes < most - most / 20;
  if (full || (b.limits.disk_full && room)) set_growth(b, full ? 0 : most);
  if (full || room) b.limits.disk_full = full;
}

// While they are frozen none of them ends, so that no number names a process of the host.
void keeper::set_growth(box& b, std::uint64_t most) {
  if (!b.record.cgroup.freeze(2s)) return;
  for (const pid_t pid : members(b.record.cgroup)) limit_file_size(pid, most, b.record.disk_limit);
  (void)b.record.cgroup.thaw();
}

void keeper::end_fillers(box& b) {
  if (!b.record.cgroup.freeze(2s)) return;
  for (const pid_t pid : members(b.record.cgroup))
    if (pid != b.record.process.pid) ::kill(pid, SIGKILL);
  (void)b.record.cgroup.thaw();
}

}  // namespace caged::vmm::jail
