// Layers of a template: tars that anybody may have made, taken apart over a root file system.
#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "core/sandbox/template_place.hpp"
#include "core/sandbox/template_tree.hpp"

namespace caged::sandbox {
namespace {

constexpr const char* free_space = "Free space on the disk of the data folder.";
constexpr std::string_view deleted = ".wh.";
constexpr std::string_view opaque = ".wh..wh..opq";
constexpr std::size_t most_parts = 256;

struct free_archive {
  void operator()(archive* a) const noexcept { ::archive_read_free(a); }
};

error refused(const std::string& name, const std::string& why) {
  return fail(errc::invalid_argument, "invalid_layer", "the entry \"" + name + "\" of a layer " + why,
              "Build the image again; whoever made this one may mean harm.");
}

// The name without "./" and "/" before it, or nothing when it leads out.
std::optional<std::string> inner_name(std::string_view raw) {
  std::string out;
  std::size_t parts = 0;
  while (!raw.empty()) {
    const auto slash = raw.find('/');
    const std::string_view part = raw.substr(0, slash);
    raw = slash == std::string_view::npos ? std::string_view() : raw.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.size() > 255 || ++parts > most_parts) return std::nullopt;
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

struct place {
  owned_fd folder;
  std::string name;
};

class layer_reader {
 public:
  layer_reader(int root, tree_limits& left)
      : root_(root), left_(left), owners_(::geteuid() == 0), in_(::archive_read_new()) {}

  result<void> run(const std::filesystem::path& tar) {
    archive* a = in_.get();
    ::archive_read_support_filter_all(a);
    ::archive_read_support_format_tar(a);
    ::archive_read_support_format_empty(a);
    ::archive_read_set_format_option(a, "tar", "hdrcharset", "BINARY");
    if (::archive_read_open_filename(a, tar.c_str(), 256 * 1024) != ARCHIVE_OK) return broken();
    for (;;) {
      archive_entry* e = nullptr;
      const int rc = ::archive_read_next_header(a, &e);
      if (rc == ARCHIVE_EOF) return {};
      if (rc < ARCHIVE_WARN) return broken();
      if (left_.entries-- == 0)
        return fail(errc::limit_exceeded, "template_too_large", "the template has more files than one may have",
                    "Build a smaller one.");
      if (auto done = take(e); !done) return done;
    }
  }

 private:
  error broken() const {
    const char* text = ::archive_error_string(in_.get());
    return fail(errc::invalid_argument, "invalid_layer",
                std::string("a layer is no tar that can be read: ") + (text != nullptr ? text : "it is cut off"),
                "Make the archive again.");
  }

  result<void> spend(std::uint64_t bytes) {
    if (bytes > left_.bytes)
      return fail(errc::limit_exceeded, "template_too_large", "the template holds more bytes than one may have",
                  "Build a smaller one.");
    left_.bytes -= bytes;
    return {};
  }

  // The folder that the name lies in; those that are missing are made.
  result<place> locate(const std::string& name) {
    place at;
    const auto slash = name.rfind('/');
    at.name = slash == std::string::npos ? name : name.substr(slash + 1);
    const std::string parent = slash == std::string::npos ? "" : name.substr(0, slash);
    at.folder = open_in(root_, parent, O_RDONLY | O_DIRECTORY);
    for (std::size_t end = 0; !at.folder && errno == ENOENT && end != std::string::npos;) {
      end = parent.find('/', end + 1);
      const std::string part = parent.substr(0, end);
      const auto cut = part.rfind('/');
      owned_fd above = open_in(root_, cut == std::string::npos ? "" : part.substr(0, cut), O_RDONLY | O_DIRECTORY);
      if (!above) break;
      if (::mkdirat(above.get(), part.substr(cut == std::string::npos ? 0 : cut + 1).c_str(), 0755) != 0 &&
          errno != EEXIST)
        return errno_error(errno, "make a folder of the template", free_space);
      at.folder = open_in(root_, parent, O_RDONLY | O_DIRECTORY);
    }
    if (!at.folder) return refused(name, std::string("lies in no folder: ") + std::strerror(errno));
    return at;
  }

  result<void> take(archive_entry* e) {
    const char* raw = ::archive_entry_pathname(e);
    auto name = raw == nullptr ? std::nullopt : inner_name(raw);
    if (!name) return refused(raw == nullptr ? "" : raw, "has a name that leads out of the template");
    if (auto paid = spend(512); !paid) return paid;
    if (name->empty()) return {};
    auto at = locate(*name);
    if (!at) return at.error();
    if (at->name.compare(0, deleted.size(), deleted) == 0) return take_away(*at, *name);
    made_.insert(*name);
    if (const char* link = ::archive_entry_hardlink(e); link != nullptr) return hard_link(*at, *name, link);
    switch (::archive_entry_filetype(e)) {
      case AE_IFREG:
        return file(*at, *name, e);
      case AE_IFDIR:
        return folder(*at, *name, e);
      case AE_IFLNK:
        return link(*at, *name, e);
      default:
        return {};  // devices, sockets and pipes: a box has its own, or none
    }
  }

  // What this layer itself has brought stays, wherever in the archive the marker lies.
  result<void> take_away(const place& at, const std::string& marker) {
    const auto slash = marker.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : marker.substr(0, slash + 1);
    if (at.name == opaque) {
      std::error_code ec;
      std::vector<std::string> names;
      for (const auto& e : std::filesystem::directory_iterator("/proc/self/fd/" + std::to_string(at.folder.get()), ec))
        names.push_back(e.path().filename());
      for (const auto& name : names)
        if (!brought(parent + name)) (void)remove_at(at.folder.get(), name);
      return {};
    }
    const std::string name = at.name.substr(deleted.size());
    if (name.empty() || name == "." || name == "..") return refused(marker, "deletes no name");
    if (!brought(parent + name))
      if (auto ec = remove_at(at.folder.get(), name); ec) return errno_error(ec.value(), "remove " + name);
    return {};
  }

  bool brought(const std::string& name) const {
    const auto found = made_.lower_bound(name);
    return found != made_.end() && (*found == name || found->compare(0, name.size() + 1, name + "/") == 0);
  }

  result<void> make_room(const place& at) {
    if (::unlinkat(at.folder.get(), at.name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (auto ec = remove_at(at.folder.get(), at.name); ec) return errno_error(ec.value(), "replace " + at.name);
    return {};
  }

  result<void> hard_link(const place& at, const std::string& name, const char* raw) {
    auto target = inner_name(raw);
    if (!target || target->empty()) return refused(name, "is a link to a name that leads out of the template");
    if (*target == name) return {};
    auto there = locate(*target);
    if (!there) return there.error();
    struct stat st {};
    if (::fstatat(there->folder.get(), there->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode))
      return refused(name, "is a link to \"" + *target + "\", which is no file");
    if (auto room = make_room(at); !room) return room;
    if (::linkat(there->folder.get(), there->name.c_str(), at.folder.get(), at.name.c_str(), 0) != 0)
      return errno_error(errno, "link " + name, free_space);
    return {};
  }

  static unsigned owner(std::int64_t id) { return id >= 0 && id < 65536 ? static_cast<unsigned>(id) : 65534u; }

  // Owners before modes: a change of owner takes set-id bits away, which are left out anyhow: nothing in a box gains
  // rights by an exec, and nothing on the host may by a file of ours.
  result<void> dress(int fd, archive_entry* e, mode_t allowed, mode_t needed) {
    if (owners_ && ::fchown(fd, owner(::archive_entry_uid(e)), owner(::archive_entry_gid(e))) != 0)
      return errno_error(errno, "set an owner");
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    ::archive_entry_xattr_reset(e);
    while (::archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
      // Those of the overlay would show a box any file of the template under any name.
      if (std::strncmp(name, "user.", 5) != 0 || std::strncmp(name, "user.overlay.", 13) == 0) continue;
      (void)::fsetxattr(fd, name, value, size, 0);
    }
    const mode_t mode = (::archive_entry_perm(e) & allowed) | (owners_ ? 0 : needed);
    if (::fchmod(fd, mode) != 0) return errno_error(errno, "set a mode");
    const timespec times[2] = {{0, UTIME_OMIT}, {::archive_entry_mtime(e), 0}};
    (void)::futimens(fd, times);
    return {};
  }

  result<void> file(const place& at, const std::string& name, archive_entry* e) {
    if (auto room = make_room(at); !room) return room;
    owned_fd fd(::openat(at.folder.get(), at.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return errno_error(errno, "create " + name, free_space);
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
        if (n <= 0) return errno_error(errno, "write " + name, free_space);
        from += n;
        offset += n;
        size -= static_cast<std::size_t>(n);
      }
    }
    if (::archive_entry_size_is_set(e) && ::ftruncate(fd.get(), ::archive_entry_size(e)) != 0)
      return errno_error(errno, "set the size of " + name, free_space);
    return dress(fd.get(), e, 0777, 0400);
  }

  result<void> folder(const place& at, const std::string& name, archive_entry* e) {
    struct stat st {};
    const bool there = ::fstatat(at.folder.get(), at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(st.st_mode))
      if (auto room = make_room(at); !room) return room;
    if (::mkdirat(at.folder.get(), at.name.c_str(), 0700) != 0 && errno != EEXIST)
      return errno_error(errno, "make " + name, free_space);
    owned_fd fd(::openat(at.folder.get(), at.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return errno_error(errno, "open " + name);
    return dress(fd.get(), e, 07777, 0700);
  }

  result<void> link(const place& at, const std::string& name, archive_entry* e) {
    const char* target = ::archive_entry_symlink(e);
    if (target == nullptr || *target == '\0') return refused(name, "is a link to nowhere");
    if (auto room = make_room(at); !room) return room;
    if (::symlinkat(target, at.folder.get(), at.name.c_str()) != 0)
      return errno_error(errno, "link " + name, free_space);
    if (owners_)
      (void)::fchownat(at.folder.get(), at.name.c_str(), owner(::archive_entry_uid(e)), owner(::archive_entry_gid(e)),
                       AT_SYMLINK_NOFOLLOW);
    const timespec times[2] = {{0, UTIME_OMIT}, {::archive_entry_mtime(e), 0}};
    (void)::utimensat(at.folder.get(), at.name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    return {};
  }

  int root_;
  tree_limits& left_;
  bool owners_;
  std::unique_ptr<archive, free_archive> in_;
  std::set<std::string> made_;
};

}  // namespace

result<void> apply_layer(const std::filesystem::path& tar, int root, tree_limits& left) {
  return layer_reader(root, left).run(tar);
}

}  // namespace caged::sandbox
