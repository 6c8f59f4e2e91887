// A running machine's memory, devices and disk at one moment; pausing to disk; putting a snapshot in a box's place.
#include "control.hpp"
#include "files.hpp"
#include "keeper.hpp"
#include "qmp.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace caged::vmm::qemu {
namespace {

using namespace std::chrono_literals;
constexpr auto hold_deadline = 20s;
constexpr std::uint64_t page = 4096;

struct mapping {
  std::uint64_t begin = 0, end = 0;
};

// Where the machine has its memory, found by the file below it.
result<mapping> memory_of(pid_t machine, const std::filesystem::path& file) {
  struct stat st {};
  if (::stat(file.c_str(), &st) != 0) return errno_error(errno, "find the memory of the base");
  std::ifstream maps("/proc/" + std::to_string(machine) + "/maps");
  mapping best;
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin = 0, end = 0, inode = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64, &begin, &end, &inode) != 3) continue;
    if (inode == st.st_ino && end - begin > best.end - best.begin) best = {begin, end};
  }
  if (best.end - best.begin != static_cast<std::uint64_t>(st.st_size))
    return fail(errc::internal, "no_memory_map", "the machine's memory is not where it was expected");
  return best;
}

// A page of a private mapping that is there and not the file's was written: kernel documentation, pagemap.
bool changed(std::uint64_t entry) { return (entry >> 62) != 0 && ((entry >> 61) & 1) == 0; }

class page_copier {
 public:
  page_copier(pid_t machine, int to, const mapping& m) : machine_(machine), to_(to), map_(m) {}

  result<void> copy(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t at = first * page; count > 0;) {
      const std::uint64_t size = std::min<std::uint64_t>(count * page, buffer_.size());
      iovec local{buffer_.data(), size}, remote{reinterpret_cast<void*>(map_.begin + at), size};
      if (::process_vm_readv(machine_, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(size))
        return errno_error(errno, "read the machine's memory");
      if (::pwrite(to_, buffer_.data(), size, static_cast<off_t>(at)) != static_cast<ssize_t>(size))
        return errno_error(errno, "write the machine's memory");
      at += size;
      count -= size / page;
    }
    return {};
  }

 private:
  pid_t machine_;
  int to_;
  mapping map_;
  std::vector<char> buffer_ = std::vector<char>(1u << 20);
};

}  // namespace

// `to` already holds the base's memory; what the machine has changed goes over it. Returns the bytes of that.
result<std::uint64_t> keeper::save_memory(pid_t machine, const std::filesystem::path& from,
                                          const std::filesystem::path& to) {
  auto map = memory_of(machine, from);
  if (!map) return map.error();
  const owned_fd pages(::open(("/proc/" + std::to_string(machine) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  const owned_fd out(::open(to.c_str(), O_WRONLY | O_CLOEXEC));
  if (!pages || !out) return errno_error(errno, "look at the machine's memory");
  page_copier copier(machine, out.get(), *map);
  std::array<std::uint64_t, 4096> entries;
  const std::uint64_t total = (map->end - map->begin) / page;
  std::uint64_t first = 0, run = 0, written = 0;
  for (std::uint64_t at = 0; at < total; at += entries.size()) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(entries.size(), total - at));
    const auto size = static_cast<ssize_t>(count * sizeof(std::uint64_t));
    if (::pread(pages.get(), entries.data(), static_cast<std::size_t>(size),
                static_cast<off_t>((map->begin / page + at) * sizeof(std::uint64_t))) != size)
      return errno_error(errno, "look at the machine's memory");
    for (std::size_t i = 0; i < count; ++i) {
      if (changed(entries[i])) {
        if (run++ == 0) first = at + i;
        continue;
      }
      if (run == 0) continue;
      if (auto done = copier.copy(first, run); !done) return done.error();
      written += run * page;
      run = 0;
    }
  }
  if (run > 0)
    if (auto done = copier.copy(first, run); !done) return done.error();
  return written + run * page;
}

result<void> keeper::save(box& b, const std::filesystem::path& to, disk with, afterwards then) {
  const auto where = folder(b.id);
  pid_t machine = 0;
  {
    const std::lock_guard lock(b.guard);
    machine = b.now.machine;
  }
  // The slow part first, while the box still runs.
  if (auto copied = copy_sparse(where / "base", to / "memory"); !copied) return copied;
  const owned_fd state(::open((to / "state").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!state) return errno_error(errno, "keep the state of the devices");
  auto talk = control::open(where);
  if (!talk) return talk.error();
  auto monitor = qmp::open(where, 30s);
  if (!monitor) return monitor.error();
  const auto begun = std::chrono::steady_clock::now();
  if (auto held = talk->hold(hold_deadline); !held) {
    (void)talk->go(nullptr, hold_deadline);
    return held;
  }
  const auto freeze = [&]() -> result<void> {
    if (auto stopped = monitor->call("stop"); !stopped) return stopped.error();
    if (auto set = monitor->call_with(state.get(), "add-fd", {{"fdset-id", 100}}); !set) return set.error();
    auto saved = monitor->call("xen-save-devices-state", {{"filename", "/dev/fdset/100"}, {"live", false}});
    (void)monitor->call("remove-fd", {{"fdset-id", 100}});
    if (!saved) return saved.error();
    if (auto kept = save_memory(machine, where / "base", to / "memory"); !kept) return kept.error();
    if (with == disk::copied) return copy_sparse(where / "disk", to / "disk");
    return {};
  };
  const auto frozen = freeze();
  if (!frozen || then == afterwards::goes_on) {
    if (auto runs = monitor->call("cont"); !runs) return runs.error();
    if (auto gone_on = talk->go(nullptr, hold_deadline); !gone_on) return gone_on.error();
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
    host_.log(log_level::info, "the box " + b.id + " stood still for " + std::to_string(took.count()) + " ms");
  }
  if (!frozen) return frozen;
  std::error_code ec;
  std::filesystem::permissions(to / "memory", std::filesystem::perms(0444), ec);
  std::filesystem::permissions(to / "state", std::filesystem::perms(0600), ec);
  return write_text(to / "base.json", to_text(b.hardware.to_json()));
}

result<snapshot_info> keeper::snapshot(const std::string& id, const std::string& snapshot_id,
                                       std::uint64_t most_bytes) {
  auto b = find(id);
  if (!b) return b.error();
  bool paused = false;
  {
    const std::lock_guard lock((*b)->guard);
    paused = (*b)->paused;
  }
  const auto where = folder(id);
  const std::uint64_t before = disk_usage(where / "disk");
  if (before > most_bytes)
    return fail(errc::limit_exceeded, "snapshot_too_large",
                "the sandbox's disk holds " + std::to_string(before) + " bytes; a snapshot may hold " +
                    std::to_string(most_bytes),
                "Remove files that are not needed, or raise snapshots.each_gb.");
  const auto part = options_.data / "snapshots" / (snapshot_id + ".part");
  std::error_code ec;
  sweep(part);
  std::filesystem::create_directories(part, ec);
  result<void> done;
  if (paused) {
    for (const char* name : {"memory", "state", "base.json"})
      if (done) done = copy_sparse(where / "paused" / name, part / name);
    if (done) done = copy_sparse(where / "disk", part / "disk");
    std::filesystem::permissions(part / "memory", std::filesystem::perms(0444), ec);
  } else {
    done = save(**b, part, disk::copied, afterwards::goes_on);
  }
  if (done) std::filesystem::rename(part, snapshot_folder(snapshot_id), ec);
  if (done && ec) done = errno_error(ec.value(), "keep the snapshot");
  if (!done) {
    sweep(part);
    return done.error();
  }
  const auto kept = snapshot_folder(snapshot_id);
  return snapshot_info{disk_usage(kept / "disk") + disk_usage(kept / "memory")};
}

result<void> keeper::remove_snapshot(const std::string& snapshot_id) {
  std::error_code ec;
  if (!std::filesystem::exists(snapshot_folder(snapshot_id), ec))
    return fail(errc::not_found, "snapshot_not_found", "the qemu backend has no snapshot \"" + snapshot_id + "\"",
                "List the sandbox's snapshots.");
  const auto part = options_.data / "snapshots" / (snapshot_id + ".part");
  sweep(part);
  std::filesystem::rename(snapshot_folder(snapshot_id), part, ec);
  sweep(part);
  return {};
}

result<void> keeper::pause(const std::string& id) {
  auto found = find(id);
  if (!found) return found.error();
  box& b = **found;
  {
    const std::lock_guard lock(b.guard);
    if (b.paused) return {};
    b.replacing = true;
  }
  const auto part = folder(id) / "paused.part";
  std::error_code ec;
  std::filesystem::remove_all(part, ec);
  std::filesystem::create_directories(part, ec);
  auto done = save(b, part, disk::stays, afterwards::ends);
  if (done) {
    std::filesystem::rename(part, folder(id) / "paused", ec);
    if (ec) done = errno_error(ec.value(), "keep the memory of the paused box");
  }
  running ended;
  {
    const std::lock_guard lock(b.guard);
    if (done) {
      b.paused = true;
      ended = std::move(b.now);
      b.now = running();
    } else {
      b.replacing = false;
    }
  }
  if (!done) {
    std::filesystem::remove_all(part, ec);
    return done;
  }
  kill_machine(ended);
  std::filesystem::remove(folder(id) / "base", ec);
  return write_record(b, folder(id));
}

result<void> keeper::resume(const std::string& id) {
  auto found = find(id);
  if (!found) return found.error();
  box& b = **found;
  {
    const std::lock_guard lock(b.guard);
    if (!b.paused) return {};
  }
  const auto where = folder(id);
  auto root = image(b.hardware.image);
  if (!root) return root.error();
  std::error_code ec;
  std::filesystem::remove(where / "base", ec);
  std::filesystem::create_hard_link(where / "paused" / "memory", where / "base", ec);
  if (ec) return errno_error(ec.value(), "keep the memory of the paused box");
  parts p;
  p.folder = where;
  p.image = *root;
  p.initrd = options_.data / "initrd";
  p.memory = where / "base";
  p.state = where / "paused" / "state";
  p.hardware = b.hardware;
  p.by = engine();
  p.uid = b.uid;
  auto ran = start(p, where);
  if (!ran) return ran.error();
  if (auto begun = begin(where, b, false); !begun) {
    kill_machine(*ran);
    return begun;
  }
  {
    const std::lock_guard lock(b.guard);
    b.now = std::move(*ran);
    b.paused = false;
    b.replacing = false;
  }
  std::filesystem::remove_all(where / "paused", ec);
  return write_record(b, where);
}

result<box_info> keeper::restore(const box_spec& spec) {
  if (auto fine = check(spec); !fine) return fine.error();
  auto found = find(spec.id);
  if (!found) return found.error();
  box& b = **found;
  auto from = base_of(spec);
  if (!from) return from.error();
  // The new machine stands before the old one goes.
  box next;
  next.id = spec.id;
  next.spec = spec;
  next.machine_id = b.machine_id;
  next.boot_id = b.boot_id;
  const auto where = options_.data / "boxes" / (spec.id + "~next");
  sweep(where);
  if (auto begun = begin_clone(*from, where, next); !begun) {
    sweep(where);
    return begun.error();
  }
  running old;
  {
    const std::lock_guard lock(b.guard);
    b.replacing = true;
    old = std::move(b.now);
    b.now = std::move(next.now);
    b.spec = next.spec;
    b.hardware = next.hardware;
    b.uid = next.uid;
    b.paused = false;
  }
  kill_machine(old);
  std::error_code ec;
  const auto before = options_.data / "boxes" / (spec.id + "~old");
  sweep(before);
  std::filesystem::rename(folder(spec.id), before, ec);
  std::filesystem::rename(where, folder(spec.id), ec);
  const bool moved = !ec;
  sweep(before);
  {
    const std::lock_guard lock(b.guard);
    b.replacing = false;
  }
  if (!moved) return errno_error(ec.value(), "put the restored box in its place");
  return describe_box(b, engine());
}

}  // namespace caged::vmm::qemu
