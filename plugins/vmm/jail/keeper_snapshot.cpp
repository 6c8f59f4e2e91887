// Snapshots: volumes that belong to no box. A name appears with everything behind it, or not at all.
#include "files.hpp"
#include "keeper_parts.hpp"
#include "snapshot_archive.hpp"
#include "volume.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cerrno>

namespace caged::vmm::jail {
namespace {

using namespace std::chrono_literals;
constexpr std::string_view unfinished = ".making-";

bool usable_name(const std::string& id) {
  return !id.empty() && id.size() < 64 && id[0] != '-' &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == std::string::npos;
}

error unknown_snapshot(const std::string& id) {
  return fail(errc::not_found, "snapshot_not_found", "the jail keeps no snapshot \"" + id + "\"",
              "List them with `caged snapshot list`.");
}

std::string description(const std::vector<layer>& layers, const std::string& etc_folder, std::uint32_t disk_base) {
  json below = json::array();
  for (const auto& l : layers) below.push_back({{"source", l.source}, {"target", l.target}, {"folder", l.folder}});
  return to_text({{"version", 1}, {"layers", below}, {"etc", etc_folder}, {"disk_base", disk_base}});
}

error too_large(std::uint64_t bytes, std::uint64_t most) {
  return fail(errc::limit_exceeded, "snapshot_too_large",
              "the snapshot would hold " + std::to_string(bytes) + " bytes, more than the " + std::to_string(most) +
                  " that are left for it",
              "Delete files or other snapshots, or raise snapshots.* in the configuration.");
}

// A box that is still while its files are copied one by one.
class stillness {
 public:
  static result<stillness> of(box& b) {
    stillness s;
    if (b.record.phase == "paused") return s;
    if (auto frozen = b.record.cgroup.freeze(5s); !frozen) return frozen.error();
    s.box_ = &b;
    return s;
  }
  stillness(stillness&& o) noexcept : box_(std::exchange(o.box_, nullptr)) {}
  stillness& operator=(stillness&&) = delete;
  ~stillness() {
    if (box_ != nullptr) (void)box_->record.cgroup.thaw();
  }

 private:
  stillness() = default;
  box* box_ = nullptr;
};

}  // namespace

result<void> keeper::open_snapshots() {
  const auto path = options_.data / "snapshots";
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  snapshots_.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!snapshots_ || ::fchmod(snapshots_.get(), 0700) != 0)
    return errno_error(errno, "open the folder " + path.string());
  return {};
}

result<kept_snapshot> keeper::find_snapshot(const std::string& snapshot_id) const {
  if (!usable_name(snapshot_id)) return unknown_snapshot(snapshot_id);
  kept_snapshot out;
  out.folder.reset(open_folder(snapshots_.get(), snapshot_id.c_str()));
  if (!out.folder) return unknown_snapshot(snapshot_id);
  out.fs.reset(open_folder(out.folder.get(), "fs"));
  auto text = read_small_file_at(out.folder.get(), "snapshot.json");
  if (!out.fs || !text)
    return fail(errc::unavailable, "snapshot_damaged", "the files of the snapshot \"" + snapshot_id + "\" are damaged",
                "Delete it; nothing in it can be used.");
  auto value = parse_json(*text);
  if (!value) return value.error();
  try {
    for (const auto& l : value->at("layers"))
      out.layers.push_back(
          {l.at("source").get<std::string>(), l.at("target").get<std::string>(), l.at("folder").get<std::string>()});
    out.etc_folder = value->at("etc").get<std::string>();
    out.disk_base = value->at("disk_base").get<std::uint32_t>();
  } catch (const json::exception& e) {
    return fail(errc::unavailable, "snapshot_damaged",
                "the description of the snapshot \"" + snapshot_id + "\" cannot be read: " + e.what(), "Delete it.");
  }
  for (const auto& l : out.layers) {
    if (!std::filesystem::is_directory(l.source))
      return fail(errc::unavailable, "template_missing",
                  "the snapshot \"" + snapshot_id + "\" lies on " + l.source + ", which is gone",
                  "Bring that folder back, or delete the snapshot.");
  }
  return out;
}

result<void> keeper::keep_snapshot(const std::string& snapshot_id,
                                   const std::function<result<void>(int folder)>& fill) {
  if (!usable_name(snapshot_id))
    return fail(errc::invalid_argument, "invalid_input", "the id \"" + snapshot_id + "\" is not usable",
                "Use 1 to 63 letters, digits, dashes and underscores.");
  const std::string making = std::string(unfinished) + random_id("", 12);
  auto folder = make_folder(snapshots_.get(), making.c_str(), 0700);
  if (!folder) return folder.error();
  result<void> done = fill(folder->get());
  if (done && ::syscall(SYS_renameat2, snapshots_.get(), making.c_str(), snapshots_.get(), snapshot_id.c_str(),
                        RENAME_NOREPLACE) != 0) {
    done = errno == EEXIST ? fail(errc::conflict, "snapshot_exists",
                                  "a snapshot \"" + snapshot_id + "\" exists already", "Choose another id.")
                           : errno_error(errno, "name the snapshot");
  }
  if (done) return done;
  if (::renameat(snapshots_.get(), making.c_str(), trash_.get(), making.c_str()) == 0) (void)empty_trash(making);
  return done;
}

result<snapshot_info> keeper::snapshot(const std::string& id, const std::string& snapshot_id,
                                       std::uint64_t most_bytes) {
  auto found = find(id);
  if (!found) return found.error();
  auto fs = open_fs(id);
  if (!fs) return fs.error();
  box& b = **found;
  const std::lock_guard lock(b.guard);
  std::optional<stillness> still;
  if (volume_kind_of(fs->get()) == volume_kind::copy) {
    auto s = stillness::of(b);
    if (!s) return s.error();
    still.emplace(std::move(*s));
  }
  snapshot_info info;
  // Counting takes longer than copying a subvolume does.
  if (most_bytes != ~std::uint64_t{0}) info.bytes = disk_usage(fs->get());
  if (info.bytes > most_bytes) return too_large(info.bytes, most_bytes);
  auto kept = keep_snapshot(snapshot_id, [&](int folder) -> result<void> {
    if (auto copied = copy_volume(fs->get(), folder, "fs"); !copied) return copied;
    if (auto marked = write_atomically(folder, "mark", encode(b.mark)); !marked) return marked;
    return write_atomically(folder, "snapshot.json",
                            description(b.record.layers, b.record.etc_folder, b.record.disk_base));
  });
  if (!kept) return kept.error();
  return info;
}

// The new box is made beside the old one and takes its place by one rename: whoever is killed here leaves a folder with
// the sandbox's name that is wholly the old box or wholly the new one, and the next adopt() sweeps the other.
result<std::shared_ptr<box>> keeper::restore(const box_spec& wanted) {
  if (auto fine = check(wanted); !fine) return fine.error();
  auto found = find(wanted.id);
  if (!found) return found.error();
  std::shared_ptr<box> old = *found;
  box_spec spec = wanted;
  spec.id = random_id("next-", 12);
  {
    const std::lock_guard lock(guard_);
    making_.insert(spec.id);
  }
  const auto forget = [this, name = spec.id] {
    const std::lock_guard lock(guard_);
    making_.erase(name);
  };
  if (::mkdirat(boxes_.get(), spec.id.c_str(), 0700) != 0) {
    forget();
    return errno_error(errno, "make the sandbox's folder", "Free space on the disk of the data folder.");
  }
  auto b = std::make_shared<box>();
  b->id = b->record.id = spec.id;
  parts p;
  p.host_name = wanted.id;
  auto built = build(spec, *b, p);
  if (built) {
    b->id = b->record.id = wanted.id;
    built = write_atomically(p.folder.get(), "box.json", to_text(b->record.to_json()));
  }
  if (built && ::syscall(SYS_renameat2, boxes_.get(), spec.id.c_str(), boxes_.get(), wanted.id.c_str(),
                         RENAME_EXCHANGE) != 0)
    built = errno_error(errno, "put the restored sandbox in place");
  if (!built) {
    abandon(spec.id, *b);
    forget();
    return built.error();
  }
  name_evidence(*b);
  files_.name(b->record.process.pid, b->id, to_manifest(scan(p.fs.get(), b->record.layers)));
  files_.remove(old->record.process.pid);  // its last changes are told while they can be seen
  {
    const std::lock_guard lock(guard_);
    live_[wanted.id] = b;
  }
  {
    const std::lock_guard lock(old->guard);
    old->destroyed = true;
  }
  // The old box has the other name now. What cannot be removed here is swept at the next start.
  if (auto released = release(spec.id, old->pidfd.get(), old->record.cgroup); !released)
    host_.log(log_level::warn, describe(released.error()));
  (void)end_of(*old);
  end_evidence(old->record);
  give_slot(old->record.slot);
  forget();
  return b;
}

result<void> keeper::remove_snapshot(const std::string& snapshot_id) {
  if (!usable_name(snapshot_id)) return {};
  const std::string name = "snapshot-" + random_id("", 12);
  if (::renameat(snapshots_.get(), snapshot_id.c_str(), trash_.get(), name.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return errno_error(errno, "move the snapshot away");
  }
  return empty_trash(name);
}

result<void> keeper::export_snapshot(const std::string& snapshot_id, unique_fd to) {
  auto kept = find_snapshot(snapshot_id);
  if (!kept) return kept.error();
  return write_archive(kept->fs.get(), kept->layers, kept->disk_base, to.get());
}

result<snapshot_info> keeper::import_snapshot(const std::string& snapshot_id, unique_fd from,
                                              std::uint64_t most_bytes) {
  const std::uint32_t owner = root_ ? options_.uid_base : 0;
  snapshot_info info;
  auto kept = keep_snapshot(snapshot_id, [&](int folder) -> result<void> {
    auto fs = make_volume(folder, "fs");
    if (!fs) return fs.error();
    if (auto made = make_skeleton(fs->get(), template_, snapshot_id, owner); !made) return made;
    // What the archive brings counts as changed.
    const manifest mark = to_manifest(scan(fs->get(), template_.layers));
    if (auto marked = write_atomically(folder, "mark", encode(mark)); !marked) return marked;
    if (auto read = read_archive(from.get(), fs->get(), template_.layers, owner, most_bytes); !read) return read;
    info.bytes = disk_usage(fs->get());
    if (info.bytes > most_bytes) return too_large(info.bytes, most_bytes);
    return write_atomically(folder, "snapshot.json",
                            description(template_.layers, template_.etc_folder, owner));
  });
  if (!kept) return kept.error();
  return info;
}

// Removes what a dead host left half made. Returns the copies of /etc that snapshots lie on.
std::vector<std::string> keeper::sweep_snapshots() {
  std::vector<std::string> names, used;
  const int copy = ::openat(snapshots_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (DIR* stream = copy < 0 ? nullptr : ::fdopendir(copy); stream != nullptr) {
    while (const dirent* e = ::readdir(stream)) names.emplace_back(e->d_name);
    ::closedir(stream);
  }
  for (const auto& name : names) {
    if (name.rfind(unfinished, 0) == 0) {
      if (::renameat(snapshots_.get(), name.c_str(), trash_.get(), name.c_str()) == 0) (void)empty_trash(name);
    } else if (auto kept = find_snapshot(name)) {
      used.push_back(kept->etc_folder);
    }
  }
  return used;
}

}  // namespace caged::vmm::jail
