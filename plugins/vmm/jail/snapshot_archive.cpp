#include "snapshot_archive.hpp"

#include "diff.hpp"
#include "files.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

namespace caged::vmm::jail {
namespace {

constexpr off_t longest_file = 1ll << 40;  // a hole can be made as long as the file system counts; reading it takes time

struct free_writer {
  void operator()(archive* a) const noexcept { ::archive_write_free(a); }
  void operator()(archive_entry* e) const noexcept { ::archive_entry_free(e); }
};

// Whoever reads may go away, and then this ends; whoever is slow is waited for, up to the socket's own time limit.
la_ssize_t send_piece(archive* a, void* data, const void* bytes, size_t size) {
  const int fd = *static_cast<int*>(data);
  for (;;) {
    const ssize_t n = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    ::archive_set_error(a, errno, "send the archive");
    return -1;
  }
}

class writer {
 public:
  writer(std::uint32_t base, int to) : base_(base), to_(to), out_(::archive_write_new()) {}

  result<void> begin() {
    archive* a = out_.get();
    ::archive_write_add_filter_gzip(a);
    ::archive_write_set_filter_option(a, "gzip", "compression-level", "1");
    ::archive_write_set_filter_option(a, "gzip", "timestamp", nullptr);
    ::archive_write_set_format_pax(a);
    // Names are bytes and belong to no alphabet.
    ::archive_write_set_format_option(a, "pax", "hdrcharset", "BINARY");
    ::archive_write_set_bytes_in_last_block(a, 1);
    if (::archive_write_open(a, &to_, nullptr, &send_piece, nullptr) != ARCHIVE_OK) return failed("begin");
    return {};
  }

  // Everything below `dir`, under `prefix` inside the box. `skip` tells names at the top that are not the box's files.
  result<void> add_tree(int dir, const std::string& prefix, const std::function<bool(const std::string&)>& skip) {
    result<void> done;
    walk(dir, [&](const walk_entry& e) {
      if (!done || skip(e.path)) return false;
      done = add(dir, e, prefix);
      return static_cast<bool>(done);
    });
    return done;
  }

  result<void> end() {
    if (::archive_write_close(out_.get()) != ARCHIVE_OK) return failed("end");
    return {};
  }

 private:
  error failed(const std::string& what) const {
    const char* text = ::archive_error_string(out_.get());
    return fail(errc::unavailable, "archive_failed",
                "cannot " + what + " the archive: " + (text != nullptr ? text : "unknown"), "Try again.");
  }

  std::int64_t inside(std::uint32_t id) const {
    const std::uint32_t n = base_ == 0 ? 0 : id - base_;
    return n < 65536 ? n : nobody_inside;
  }

  result<void> header(archive_entry* e) {
    if (::archive_write_header(out_.get(), e) < ARCHIVE_WARN) return failed("write to");
    return {};
  }

  // A name that stands for "there is nothing here any more".
  result<void> add_marker(const std::string& name) {
    const std::unique_ptr<archive_entry, free_writer> e(::archive_entry_new());
    ::archive_entry_set_pathname(e.get(), name.c_str());
    ::archive_entry_set_filetype(e.get(), AE_IFREG);
    ::archive_entry_set_perm(e.get(), 0600);
    ::archive_entry_set_size(e.get(), 0);
    return header(e.get());
  }

  // Safe to open by a path of several parts: nobody works in a snapshot, and O_NOFOLLOW guards the last part.
  result<void> add(int dir, const walk_entry& at, const std::string& prefix) {
    const struct stat& st = at.status;
    const std::string name = prefix + at.path;
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) {
      const auto slash = name.rfind('/') + 1;  // 0 where there is none
      return add_marker(name.substr(0, slash) + std::string(deleted_prefix) + name.substr(slash));
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISFIFO(st.st_mode)) return {};
    const std::unique_ptr<archive_entry, free_writer> e(::archive_entry_new());
    ::archive_entry_copy_stat(e.get(), &st);
    ::archive_entry_set_pathname(e.get(), name.c_str());
    ::archive_entry_set_uid(e.get(), inside(st.st_uid));
    ::archive_entry_set_gid(e.get(), inside(st.st_gid));
    if (S_ISREG(st.st_mode)) return add_file(dir, at, name, e.get());
    ::archive_entry_set_size(e.get(), 0);
    if (S_ISLNK(st.st_mode)) {
      std::array<char, 4097> target{};
      if (::readlinkat(dir, at.path.c_str(), target.data(), target.size() - 1) < 0)
        return errno_error(errno, "read the link " + name);
      ::archive_entry_set_symlink(e.get(), target.data());
      return header(e.get());
    }
    if (!S_ISDIR(st.st_mode)) return header(e.get());
    unique_fd folder(::openat(dir, at.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    const bool opaque = folder && add_attributes(folder.get(), e.get());
    if (auto done = header(e.get()); !done) return done;
    return opaque ? add_marker(name + "/" + std::string(opaque_name)) : result<void>{};
  }

  result<void> add_file(int dir, const walk_entry& at, const std::string& name, archive_entry* e) {
    if (at.status.st_nlink > 1) {
      const auto [known, fresh] = named_.try_emplace({at.status.st_dev, at.status.st_ino}, name);
      if (!fresh) {
        ::archive_entry_set_hardlink(e, known->second.c_str());
        ::archive_entry_set_size(e, 0);
        return header(e);
      }
    }
    if (at.status.st_size > longest_file)
      return fail(errc::too_large, "file_too_large", name + " has more than 1 TiB, too many for an archive",
                  "Delete or truncate it, and take another snapshot.");
    unique_fd fd(::openat(dir, at.path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return errno_error(errno, "open " + name);
    (void)add_attributes(fd.get(), e);
    add_holes(fd.get(), at.status, e);
    if (auto done = header(e); !done) return done;
    return add_data(fd.get(), at.status.st_size, name);
  }

  // Whether the folder hides the one below it.
  bool add_attributes(int fd, archive_entry* e) {
    std::vector<char> names(65536), value(65536);
    const ssize_t length = ::flistxattr(fd, names.data(), names.size());
    bool opaque = false;
    for (const char* name = names.data(); length > 0 && name < names.data() + length; name += std::strlen(name) + 1) {
      if (std::strcmp(name, opaque_attribute) == 0) opaque = true;
      if (std::strncmp(name, "user.", 5) != 0 || std::strncmp(name, "user.overlay.", 13) == 0) continue;
      const ssize_t size = ::fgetxattr(fd, name, value.data(), value.size());
      if (size >= 0) ::archive_entry_xattr_add_entry(e, name, value.data(), static_cast<std::size_t>(size));
    }
    return opaque;
  }

  static void add_holes(int fd, const struct stat& st, archive_entry* e) {
    if (st.st_blocks * 512 >= st.st_size) return;
    for (off_t at = 0; at < st.st_size;) {
      const off_t begin = ::lseek(fd, at, SEEK_DATA);
      if (begin < 0) break;
      const off_t end = std::min(::lseek(fd, begin, SEEK_HOLE), st.st_size);
      if (end <= begin) break;
      ::archive_entry_sparse_add_entry(e, begin, end - begin);
      at = end;
    }
    if (::archive_entry_sparse_count(e) == 0) ::archive_entry_sparse_add_entry(e, st.st_size, 0);
  }

  result<void> add_data(int fd, off_t size, const std::string& name) {
    std::vector<char> piece(256 * 1024);
    off_t at = 0;
    while (at < size) {
      ssize_t n = ::pread(fd, piece.data(), std::min<std::size_t>(piece.size(), static_cast<std::size_t>(size - at)), at);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return errno_error(n < 0 ? errno : EIO, "read " + name);
      if (::archive_write_data(out_.get(), piece.data(), static_cast<std::size_t>(n)) < 0) return failed("write to");
      at += n;
    }
    return {};
  }

  std::uint32_t base_;
  int to_;
  std::unique_ptr<archive, free_writer> out_;
  std::map<std::pair<dev_t, ino_t>, std::string> named_;
};

}  // namespace

result<void> write_archive(int fs, const std::vector<layer>& layers, std::uint32_t base, int to) {
  writer w(base, to);
  if (auto done = w.begin(); !done) return done;
  unique_fd root(open_folder(fs, "root"));
  if (!root) return errno_error(errno, "open the snapshot's files");
  const auto covered = [&layers](const std::string& path) { return is_covered(path, layers); };
  if (auto done = w.add_tree(root.get(), "", covered); !done) return done;
  for (const auto& l : layers) {
    unique_fd upper(
        ::openat(fs, ("layers/" + l.folder + "/upper").c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!upper) return errno_error(errno, "open the snapshot's files of /" + l.target);
    const auto all = [](const std::string&) { return false; };
    if (auto done = w.add_tree(upper.get(), l.target + "/", all); !done) return done;
  }
  return w.end();
}

}  // namespace caged::vmm::jail
