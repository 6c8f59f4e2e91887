#include <core/cli/archive.hpp>

#include <archive.h>
#include <archive_entry.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace caged::cli {
namespace {

namespace fs = std::filesystem;

error archive_failure(archive* a, const std::string& what) {
  const char* text = archive_error_string(a);
  return fail(errc::unavailable, "archive_failed", what + ": " + (text == nullptr ? "unknown failure" : text),
              "Check the free space and permissions of the target.");
}

using archive_handle = std::unique_ptr<archive, int (*)(archive*)>;
using entry_handle = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

la_ssize_t keep_bytes(archive*, void* data, const void* bytes, std::size_t size) {
  static_cast<std::string*>(data)->append(static_cast<const char*>(bytes), size);
  return static_cast<la_ssize_t>(size);
}

}  // namespace

// Walks the folder by a directory iterator; one entry, or one piece of a file, at a time.
struct archive_writer::state {
  fs::path folder;
  std::string inner;
  std::string out;   // what libarchive has made and nobody has read yet
  archive_handle writer{archive_write_new(), archive_write_free};
  fs::recursive_directory_iterator at;
  int file = -1;
  std::uint64_t left = 0;  // of the file being sent
  std::uint64_t total = 0;
  bool first = true;
  bool finished = false;

  ~state() {
    if (file >= 0) ::close(file);
  }

  result<void> add(const fs::path& path, const std::string& name) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return errno_error(errno, "read " + path.string());
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode) && !S_ISLNK(info.st_mode)) return {};
    const entry_handle entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    if (S_ISREG(info.st_mode)) {
      file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
      if (file < 0) return errno_error(errno, "read " + path.string());
      // The size of what was opened, not of what lstat saw.
      if (::fstat(file, &info) != 0) return errno_error(errno, "read " + path.string());
      if (!S_ISREG(info.st_mode)) {
        ::close(std::exchange(file, -1));
        return {};
      }
      left = static_cast<std::uint64_t>(info.st_size);
    }
    archive_entry_copy_stat(entry.get(), &info);
    archive_entry_set_uid(entry.get(), 0);
    archive_entry_set_gid(entry.get(), 0);
    archive_entry_set_nlink(entry.get(), 1);
    if (S_ISLNK(info.st_mode)) {
      std::error_code failed;
      archive_entry_set_symlink(entry.get(), fs::read_symlink(path, failed).c_str());
    }
    if (archive_write_header(writer.get(), entry.get()) < ARCHIVE_WARN)
      return archive_failure(writer.get(), "pack " + name);
    return {};
  }

  result<void> send_file() {
    char piece[65536];
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, sizeof piece));
    ssize_t n = wanted == 0 ? 0 : ::read(file, piece, wanted);
    if (n < 0 && errno == EINTR) return {};
    if (n < 0) return errno_error(errno, "read a file of " + folder.string());
    if (n == 0 && left > 0) {
      return fail(errc::conflict, "file_changed", "a file in " + folder.string() + " became shorter while it was read",
                  "Copy again when nothing writes there.");
    }
    if (n > 0 && archive_write_data(writer.get(), piece, static_cast<std::size_t>(n)) < 0) {
      return archive_failure(writer.get(), "pack");
    }
    left -= static_cast<std::uint64_t>(n);
    if (left == 0) ::close(std::exchange(file, -1));
    return {};
  }

  result<void> advance() {
    if (file >= 0) return send_file();
    if (std::exchange(first, false)) {
      std::error_code failed;
      at = fs::recursive_directory_iterator(folder, failed);
      if (failed) return errno_error(failed.value(), "read " + folder.string());
      return add(folder, inner);
    }
    if (at == fs::recursive_directory_iterator()) {
      finished = true;
      if (archive_write_close(writer.get()) != ARCHIVE_OK) return archive_failure(writer.get(), "pack");
      return {};
    }
    const fs::path path = at->path();
    const std::string name = inner + "/" + path.lexically_relative(folder).string();
    if (auto ok = add(path, name); !ok) return ok.error();
    std::error_code failed;
    at.increment(failed);
    if (failed) return errno_error(failed.value(), "read " + path.string());
    return {};
  }
};

archive_writer::archive_writer(std::unique_ptr<state> s) : state_(std::move(s)) {}
archive_writer::~archive_writer() = default;
std::uint64_t archive_writer::bytes() const noexcept { return state_->total; }

result<std::unique_ptr<archive_writer>> archive_writer::open(const fs::path& folder, std::string inner) {
  auto s = std::make_unique<state>();
  s->folder = folder;
  s->inner = std::move(inner);
  archive* w = s->writer.get();
  if (archive_write_set_format_pax_restricted(w) != ARCHIVE_OK ||
      archive_write_set_bytes_per_block(w, 65536) != ARCHIVE_OK ||
      archive_write_open(w, &s->out, nullptr, keep_bytes, nullptr) != ARCHIVE_OK) {
    return archive_failure(w, "pack " + folder.string());
  }
  return std::unique_ptr<archive_writer>(new archive_writer(std::move(s)));
}

result<std::string> archive_writer::read() {
  while (state_->out.empty() && !state_->finished) {
    if (auto ok = state_->advance(); !ok) return ok.error();
  }
  state_->total += state_->out.size();
  return std::exchange(state_->out, std::string());
}

namespace {

// What libarchive pulls from.
struct pulled {
  std::function<result<std::string>()> next;
  std::string piece;
  std::optional<error> failure;
};

la_ssize_t pull(archive* a, void* data, const void** bytes) {
  auto& from = *static_cast<pulled*>(data);
  auto piece = from.next();
  if (!piece) {
    from.failure = piece.error();
    archive_set_error(a, EIO, "%s", piece.error().message.c_str());
    return -1;
  }
  from.piece = std::move(*piece);
  *bytes = from.piece.data();
  return static_cast<la_ssize_t>(from.piece.size());
}

error hostile(const std::string& name) {
  return fail(errc::permission_denied, "hostile_archive",
              "the sandbox sent the name '" + name.substr(0, 200) + "', which lies outside of what was asked for",
              "Nothing was written there. Look at the folder inside the sandbox before you copy it.");
}

// The name below `top`, "" for the top itself; nullopt when it lies elsewhere.
std::optional<std::string> below(std::string name, const std::string& top) {
  while (name.rfind("./", 0) == 0) name.erase(0, 2);
  while (!name.empty() && name.back() == '/') name.pop_back();
  const std::string clean = top == "."                      ? name
                            : name == top                   ? ""
                            : name.rfind(top + "/", 0) == 0 ? name.substr(top.size() + 1)
                                                            : "\x01";
  if (clean == "\x01") return std::nullopt;
  if (clean == ".") return std::string();
  for (const auto& part : fs::path(clean)) {
    if (part == "..") return std::nullopt;
  }
  if (!clean.empty() && clean.front() == '/') return std::nullopt;
  return clean;
}

result<std::uint64_t> copy_data(archive* from, archive* to) {
  std::uint64_t total = 0;
  for (;;) {
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int got = archive_read_data_block(from, &bytes, &size, &offset);
    if (got == ARCHIVE_EOF) return total;
    if (got < ARCHIVE_WARN) return archive_failure(from, "unpack");
    if (archive_write_data_block(to, bytes, size, offset) < ARCHIVE_WARN) return archive_failure(to, "write");
    total += size;
  }
}

// Makes the entry harmless and gives it its place; false: leave it out.
result<bool> tame(archive_entry* entry, const fs::path& target, const std::string& top) {
  const auto type = archive_entry_filetype(entry);
  const char* link = archive_entry_hardlink(entry);
  if (link == nullptr && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) return false;
  const std::string name = archive_entry_pathname(entry) == nullptr ? "" : archive_entry_pathname(entry);
  const auto place = below(name, top);
  if (!place) return hostile(name);
  archive_entry_copy_pathname(entry, (place->empty() ? target : target / *place).c_str());
  if (link != nullptr) {
    const auto linked = below(link, top);
    if (!linked || linked->empty()) return hostile(link);
    archive_entry_copy_hardlink(entry, (target / *linked).c_str());
  }
  archive_entry_set_perm(entry, archive_entry_perm(entry) & 0777);
  return true;
}

}  // namespace

result<std::uint64_t> unpack(std::function<result<std::string>()> next, const fs::path& target,
                             const std::string& top) {
  pulled from{std::move(next), {}, {}};
  const archive_handle reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  const auto failed = [&](archive* a, const std::string& what) {
    return from.failure ? *from.failure : archive_failure(a, what);
  };
  if (archive_read_open(reader.get(), &from, nullptr, pull, nullptr) != ARCHIVE_OK)
    return failed(reader.get(), "unpack");
  const archive_handle writer(archive_write_disk_new(), archive_write_free);
  // SECURE_NOABSOLUTEPATHS is left out on purpose: every name was just put below `target`, which is absolute. Symbolic
  // links in it were resolved by the caller, so that a link found on the way was made by the archive.
  archive_write_disk_set_options(writer.get(), ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM |
                                                   ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT);
  std::uint64_t total = 0;
  for (;;) {
    archive_entry* entry = nullptr;
    const int got = archive_read_next_header(reader.get(), &entry);
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN) return failed(reader.get(), "unpack");
    const auto wanted = tame(entry, target, top);
    if (!wanted) return wanted.error();
    if (!*wanted) continue;
    if (archive_write_header(writer.get(), entry) < ARCHIVE_WARN) return archive_failure(writer.get(), "write");
    const auto copied = copy_data(reader.get(), writer.get());
    if (!copied) return from.failure ? *from.failure : copied.error();
    total += *copied;
    if (archive_write_finish_entry(writer.get()) < ARCHIVE_WARN) return archive_failure(writer.get(), "write");
  }
  if (archive_write_close(writer.get()) < ARCHIVE_WARN) return archive_failure(writer.get(), "write");
  return total;
}

}  // namespace caged::cli
