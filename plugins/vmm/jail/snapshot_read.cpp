// Archives that come from outside, taken apart on the host: every name is walked from a descriptor, link by no link.
#include "diff.hpp"
#include "files.hpp"
#include "snapshot_archive.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <memory>

namespace caged::vmm::jail {
namespace {

constexpr std::uint64_t most_entries = 1'000'000;
constexpr std::size_t most_parts = 256;

struct free_reader {
  void operator()(archive* a) const noexcept { ::archive_read_free(a); }
};

error refused(const std::string& why, const std::string& name) {
  return fail(errc::invalid_argument, "invalid_archive", "the archive's entry \"" + name + "\" " + why,
              "Send an archive that `caged snapshot download` made, or one like it.");
}

// The parts of a name; nothing when it is no name inside.
std::optional<std::vector<std::string>> parts_of(std::string_view name) {
  std::vector<std::string> out;
  if (name.empty() || name.front() == '/') return std::nullopt;
  while (!name.empty()) {
    const auto slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    name = slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.size() > 255) return std::nullopt;
    out.emplace_back(part);
    if (out.size() > most_parts) return std::nullopt;
  }
  return out;
}

// Where in a volume a name inside the box lies.
struct place {
  unique_fd folder;     // the one it lies in
  std::string name;     // its last part; empty: `folder` itself
  bool layered = false; // over a folder of the template
};

class reader {
 public:
  reader(int fs, const std::vector<layer>& layers, std::uint32_t base, std::uint64_t most)
      : fs_(fs), layers_(layers), base_(base), left_(most), in_(::archive_read_new()) {}

  result<void> run(int from) {
    archive* a = in_.get();
    ::archive_read_support_filter_gzip(a);
    ::archive_read_support_format_tar(a);
    ::archive_read_set_format_option(a, "tar", "hdrcharset", "BINARY");
    if (::archive_read_open_fd(a, from, 64 * 1024) != ARCHIVE_OK) return broken();
    for (std::uint64_t count = 0;; ++count) {
      archive_entry* e = nullptr;
      const int rc = ::archive_read_next_header(a, &e);
      if (rc == ARCHIVE_EOF) return count == 0 ? broken() : result<void>{};
      if (rc < ARCHIVE_WARN) return broken();
      if (count == most_entries) return refused("is one of more than a million", "…");
      if (auto done = take(e); !done) return done;
    }
  }

 private:
  error broken() const {
    const char* text = ::archive_error_string(in_.get());
    return fail(errc::invalid_argument, "invalid_archive",
                std::string("the upload is no .tar.gz that can be read: ") + (text != nullptr ? text : "it is empty"),
                "Send an archive that `caged snapshot download` made, or one like it.");
  }

  std::uint32_t outside(std::int64_t id) const {
    return base_ + static_cast<std::uint32_t>(id >= 0 && id < 65536 ? id : nobody_inside);
  }

  result<void> spend(std::uint64_t bytes) {
    if (bytes > left_)
      return fail(errc::limit_exceeded, "snapshot_too_large", "the archive unpacks to more than a snapshot may hold",
                  "Send less, or raise snapshots.* in the configuration.");
    left_ -= bytes;
    return {};
  }

  // Opens the folder that the name lies in; makes those that are missing. Nothing is followed.
  result<place> locate(std::vector<std::string> parts, const std::string& whole) {
    place at;
    std::string begin = "root";
    std::size_t skip = 0;
    for (const auto& l : layers_) {
      auto target = parts_of(l.target);
      if (!target || target->size() > parts.size() || target->size() < skip) continue;
      if (!std::equal(target->begin(), target->end(), parts.begin())) continue;
      begin = "layers/" + l.folder + "/upper";
      skip = target->size();
      at.layered = true;
    }
    // Safe: these are the plugin's own folders, and the volume is new.
    at.folder.reset(::openat(fs_, begin.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!at.folder) return errno_error(errno, "open the new snapshot");
    for (std::size_t i = skip; i + 1 < parts.size(); ++i) {
      const char* part = parts[i].c_str();
      unique_fd next(open_folder(at.folder.get(), part));
      if (!next && errno == ENOENT) {
        if (::mkdirat(at.folder.get(), part, 0755) != 0) return errno_error(errno, "make a folder", free_space);
        next.reset(open_folder(at.folder.get(), part));
        if (next && base_ != 0 && ::fchown(next.get(), base_, base_) != 0) return errno_error(errno, "own a folder");
      }
      if (!next) return refused("leads through something that is no folder", whole);
      at.folder = std::move(next);
    }
    if (parts.size() > skip) at.name = parts.back();
    return at;
  }

  result<void> take(archive_entry* e) {
    const char* raw = ::archive_entry_pathname(e);
    const std::string name = raw != nullptr ? raw : "";
    auto parts = parts_of(name);
    if (!parts) return refused("has a name that leads out of the sandbox or is no name", name);
    if (auto paid = spend(512); !paid) return paid;
    if (parts->empty()) return {};  // "./"
    if (is_covered(parts->front(), {})) return {};  // where the kernel is mounted: nobody would ever see it
    auto at = locate(*parts, name);
    if (!at) return at.error();
    if (const char* link = ::archive_entry_hardlink(e); link != nullptr) return take_link(*at, name, link);
    if (at->name.rfind(deleted_prefix, 0) == 0) return take_marker(*at, name);
    switch (::archive_entry_filetype(e)) {
      case AE_IFREG:
        return take_file(*at, name, e);
      case AE_IFDIR:
        return take_folder(*at, name, e);
      case AE_IFLNK:
      case AE_IFIFO:
        return take_other(*at, name, e);
      default:
        return refused("is a device or a socket", name);
    }
  }

  result<void> make_room(const place& at, const std::string& name) {
    if (at.name.empty()) return refused("would replace a folder of the template", name);
    if (::unlinkat(at.folder.get(), at.name.c_str(), 0) == 0 || errno == ENOENT) return {};
    return refused("would replace a folder", name);
  }

  result<void> take_link(const place& at, const std::string& name, const std::string& target) {
    auto parts = parts_of(target);
    if (!parts || parts->empty()) return refused("is a link to a name that leads out of the sandbox", name);
    auto there = locate(*parts, name);
    if (!there) return there.error();
    struct stat st {};
    if (::fstatat(there->folder.get(), there->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
      return refused("is a link to something that is no file before it in the archive", name);
    if (auto room = make_room(at, name); !room) return room;
    if (::linkat(there->folder.get(), there->name.c_str(), at.folder.get(), at.name.c_str(), 0) != 0)
      return refused(std::string("cannot be linked: ") + std::strerror(errno), name);
    return {};
  }

  result<void> take_marker(place& at, const std::string& name) {
    if (!at.layered) return {};  // below is nothing that could be deleted
    if (at.name == opaque_name) {
      if (::fsetxattr(at.folder.get(), opaque_attribute, "y", 1, 0) != 0) return errno_error(errno, "hide a folder");
      return {};
    }
    at.name.erase(0, deleted_prefix.size());
    if (at.name.empty() || at.name == "." || at.name == "..") return refused("deletes no name", name);
    if (auto room = make_room(at, name); !room) return room;
    // The one device there is: it opens nothing, and says to an overlay that the name is gone.
    if (::mknodat(at.folder.get(), at.name.c_str(), S_IFCHR, makedev(0, 0)) != 0)
      return errno_error(errno, "mark a deleted name");
    return {};
  }

  // Owners before modes: a change of owner takes set-id bits away.
  result<void> dress(int fd, archive_entry* e) {
    if (base_ != 0 && ::fchown(fd, outside(::archive_entry_uid(e)), outside(::archive_entry_gid(e))) != 0)
      return errno_error(errno, "set an owner");
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    ::archive_entry_xattr_reset(e);
    while (::archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
      // Attributes of the overlay would show a box any file of the template under any name.
      if (std::strncmp(name, "user.", 5) != 0 || std::strncmp(name, "user.overlay.", 13) == 0) continue;
      if (::fsetxattr(fd, name, value, size, 0) != 0) return errno_error(errno, "set an attribute", free_space);
    }
    if (::fchmod(fd, ::archive_entry_perm(e) & 07777) != 0) return errno_error(errno, "set a mode");
    const timespec times[2] = {{0, UTIME_OMIT}, {::archive_entry_mtime(e), ::archive_entry_mtime_nsec(e)}};
    (void)::futimens(fd, times);
    return {};
  }

  result<void> take_file(const place& at, const std::string& name, archive_entry* e) {
    if (auto room = make_room(at, name); !room) return room;
    unique_fd fd(
        ::openat(at.folder.get(), at.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return errno_error(errno, "create a file", free_space);
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    for (;;) {
      const int rc = ::archive_read_data_block(in_.get(), &bytes, &size, &offset);
      if (rc == ARCHIVE_EOF) break;
      if (rc < ARCHIVE_WARN) return broken();
      if (auto paid = spend(size); !paid) return paid;
      const char* from = static_cast<const char*>(bytes);
      while (size > 0) {
        const ssize_t n = ::pwrite(fd.get(), from, size, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return errno_error(errno, "write a file", free_space);
        from += n;
        offset += n;
        size -= static_cast<std::size_t>(n);
      }
    }
    if (::archive_entry_size_is_set(e) && ::ftruncate(fd.get(), ::archive_entry_size(e)) != 0)
      return errno_error(errno, "set the size of a file", free_space);
    return dress(fd.get(), e);
  }

  result<void> take_folder(const place& at, const std::string& name, archive_entry* e) {
    if (at.name.empty()) return dress(at.folder.get(), e);
    if (::mkdirat(at.folder.get(), at.name.c_str(), 0700) != 0 && errno != EEXIST)
      return errno_error(errno, "make a folder", free_space);
    unique_fd fd(open_folder(at.folder.get(), at.name.c_str()));
    if (!fd) return refused("is a folder where something else lies", name);
    return dress(fd.get(), e);
  }

  result<void> take_other(const place& at, const std::string& name, archive_entry* e) {
    if (auto room = make_room(at, name); !room) return room;
    const char* target = ::archive_entry_symlink(e);
    const bool link = ::archive_entry_filetype(e) == AE_IFLNK;
    if (link && target == nullptr) return refused("is a link to nowhere", name);
    const int rc = link ? ::symlinkat(target, at.folder.get(), at.name.c_str())
                        : ::mknodat(at.folder.get(), at.name.c_str(), S_IFIFO | (::archive_entry_perm(e) & 0777), 0);
    if (rc != 0) return errno_error(errno, "make a link", free_space);
    if (base_ != 0 && ::fchownat(at.folder.get(), at.name.c_str(), outside(::archive_entry_uid(e)),
                                 outside(::archive_entry_gid(e)), AT_SYMLINK_NOFOLLOW) != 0)
      return errno_error(errno, "set an owner");
    return {};
  }

  int fs_;
  const std::vector<layer>& layers_;
  std::uint32_t base_;
  std::uint64_t left_;
  std::unique_ptr<archive, free_reader> in_;
};

}  // namespace

result<void> read_archive(int from, int fs, const std::vector<layer>& layers, std::uint32_t base,
                          std::uint64_t most_bytes) {
  return reader(fs, layers, base, most_bytes).run(from);
}

}  // namespace caged::vmm::jail
