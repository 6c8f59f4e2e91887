#include "diff.hpp"

#include "files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

namespace caged::vmm::jail {
namespace {

std::int64_t nanoseconds(const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec; }

file_mark mark_of(const struct stat& st) {
  return {st.st_ino, static_cast<std::uint64_t>(st.st_size), nanoseconds(st.st_mtim), nanoseconds(st.st_ctim),
          st.st_mode};
}

// Whether the layer below has this name. The name is the box's, so nothing may follow a link out of the layer.
bool exists_below(int lower, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  unique_fd fd(static_cast<int>(::syscall(SYS_openat2, lower, path.c_str(), &how, sizeof how)));
  return static_cast<bool>(fd);
}

void scan_layer(int fs, const layer& l, box_files& out) {
  unique_fd upper(
      ::openat(fs, ("layers/" + l.folder + "/upper").c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  unique_fd lower(::open(l.source.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!upper) return;
  walk(upper.get(), [&](const walk_entry& e) {
    seen_file f{mark_of(e.status)};
    f.folder = S_ISDIR(e.status.st_mode);
    f.whiteout = S_ISCHR(e.status.st_mode) && e.status.st_rdev == makedev(0, 0);
    f.below = lower && exists_below(lower.get(), e.path);
    out.emplace("/" + l.target + "/" + e.path, f);
    return true;
  });
}

}  // namespace

bool is_covered(const std::string& path, const std::vector<layer>& layers) {
  for (const char* name : {"proc", "sys", "dev", "run"}) {
    if (path == name) return true;
  }
  for (const auto& l : layers) {
    if (path == l.target) return true;
  }
  return false;
}

box_files scan(int fs, const std::vector<layer>& layers) {
  box_files out;
  unique_fd root(open_folder(fs, "root"));
  if (root) {
    walk(root.get(), [&](const walk_entry& e) {
      if (is_covered(e.path, layers)) return false;
      seen_file f{mark_of(e.status)};
      f.folder = S_ISDIR(e.status.st_mode);
      out.emplace("/" + e.path, f);
      return true;
    });
  }
  for (const auto& l : layers) scan_layer(fs, l, out);
  return out;
}

std::optional<file_mark> mark_of_file(int fs, const char* path) {
  struct stat st {};
  if (::fstatat(fs, path, &st, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return mark_of(st);
}

manifest to_manifest(const box_files& files) {
  manifest out;
  for (const auto& [path, f] : files) out.emplace_hint(out.end(), path, f.mark);
  return out;
}

std::vector<box_change> difference(const manifest& before, const box_files& now) {
  using kind = box_change::kind;
  std::vector<box_change> out;
  for (const auto& [path, f] : now) {
    const auto old = before.find(path);
    const bool was_whiteout = old != before.end() && S_ISCHR(old->second.mode);
    if (f.whiteout) {
      // A file that the box made since the mark and removed again leaves nothing; one from below leaves a whiteout.
      if (!was_whiteout && (f.below || old != before.end())) out.push_back({path, kind::deleted, 0});
      continue;
    }
    const bool existed = old != before.end() ? !was_whiteout : f.below;
    if (!existed) out.push_back({path, kind::created, f.folder ? 0 : f.mark.size});
    // A folder changes with its content, which is listed itself, and is copied up with it.
    else if (!f.folder && (old == before.end() || !(old->second == f.mark)))
      out.push_back({path, kind::modified, f.mark.size});
  }
  for (const auto& [path, mark] : before) {
    if (now.find(path) == now.end() && !S_ISCHR(mark.mode)) out.push_back({path, kind::deleted, 0});
  }
  std::sort(out.begin(), out.end(), [](const box_change& a, const box_change& b) { return a.path < b.path; });
  return out;
}

std::string encode(const manifest& m) {
  message_writer out;
  for (const auto& [path, f] : m) {
    out.word(path)
        .number(f.inode)
        .number(f.size)
        .word(std::to_string(f.modified_ns))
        .word(std::to_string(f.changed_ns))
        .number(f.mode);
  }
  return out.text();
}

manifest decode_manifest(const std::string& text) {
  manifest out;
  message_reader in(text);
  while (in.ok() && !in.at_end()) {
    std::string path = in.word();
    file_mark f;
    f.inode = in.number();
    f.size = in.number();
    f.modified_ns = std::strtoll(in.word().c_str(), nullptr, 10);
    f.changed_ns = std::strtoll(in.word().c_str(), nullptr, 10);
    f.mode = static_cast<std::uint32_t>(in.number());
    if (in.ok()) out.emplace(std::move(path), f);
  }
  return out;
}

}  // namespace caged::vmm::jail
