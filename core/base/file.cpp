#include "core/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cerrno>
#include <utility>

namespace caged::base {
namespace {

namespace fs = std::filesystem;

class descriptor {
 public:
  explicit descriptor(int fd) : fd_(fd) {}
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() { close(); }
  int get() const { return fd_; }
  int close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

error failed(const char* doing, const fs::path& path) {
  const int err = errno;
  return errno_error(err, std::string(doing) + " " + path.string(),
                     err == ENOSPC || err == EDQUOT ? "Free space on that file system."
                                                    : "Check that the server's user may write there.");
}

result<void> write_all(int fd, std::string_view content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("write", path);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

// Without it a crash of the machine may bring the old name back.
void sync_folder(const fs::path& folder) {
  descriptor dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() >= 0) ::fsync(dir.get());
}

}  // namespace

result<void> write_file(const fs::path& path, std::string_view content, mode_t mode) {
  const fs::path fresh = path.string() + random_id(".", 8);
  descriptor file(::open(fresh.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return failed("create", fresh);
  auto done = write_all(file.get(), content, path);
  if (done && ::fchmod(file.get(), mode) != 0) done = failed("set the mode of", path);
  if (done && ::fsync(file.get()) != 0) done = failed("write", path);
  if (file.close() != 0 && done) done = failed("write", path);
  if (done && ::rename(fresh.c_str(), path.c_str()) != 0) done = failed("replace", path);
  if (!done) {
    ::unlink(fresh.c_str());
    return done;
  }
  sync_folder(path.parent_path());
  return {};
}

result<std::string> read_file(const fs::path& path, std::size_t limit) {
  // O_NONBLOCK: a FIFO in the place of the file must not hang the host.
  descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) return errno_error(errno, "open " + path.string(), "Check that the file exists and may be read.");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return errno_error(errno, "look at " + path.string());
  if (!S_ISREG(info.st_mode))
    return fail(errc::invalid_argument, "not_a_file", path.string() + " is not a regular file", "Name a regular file.");
  std::string content;
  while (content.size() <= limit) {
    const std::size_t had = content.size();
    content.resize(std::min(limit + 1, had + 65536));
    const ssize_t n = ::read(file.get(), content.data() + had, content.size() - had);
    content.resize(had + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read " + path.string());
    if (n == 0) return content;
  }
  return fail(errc::too_large, "file_too_large", path.string() + " is larger than " + std::to_string(limit) + " bytes",
              "Name a smaller file.");
}

result<void> make_folder(const fs::path& path, mode_t mode) {
  std::error_code err;
  if (fs::is_directory(path, err)) return {};
  if (path.has_parent_path() && path.parent_path() != path) {
    if (auto r = make_folder(path.parent_path(), mode); !r) return r;
  }
  if (path.filename().empty() || ::mkdir(path.c_str(), mode) == 0) return {};
  if (errno == EEXIST && fs::is_directory(path, err)) return {};
  return failed("make the folder", path);
}

}  // namespace caged::base
