#include "core/base/instance_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "core/base/file.hpp"

namespace caged::base {

result<instance_lock> instance_lock::take(const std::filesystem::path& data_dir) {
  if (auto made = make_folder(data_dir); !made) return made.error();
  const auto path = data_dir / "server.lock";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return errno_error(errno, "open the lock file " + path.string(),
                       "Give the server's user write access to the data folder.");
  instance_lock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK)
      return errno_error(errno, "lock " + path.string(), "Put the data folder on a local file system.");
    std::array<char, 32> text{};
    const ssize_t n = ::pread(fd, text.data(), text.size() - 1, 0);
    const std::string owner(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    return fail(errc::conflict, "data_folder_in_use",
                "the data folder " + data_dir.string() + " is in use by the server with process id " +
                    (owner.empty() ? "?" : owner),
                "Use that server, stop it, or choose another folder with --data.");
  }
  // The number is for the message above only. It stays when the process dies; the lock does not.
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0)
    return errno_error(errno, "write the lock file " + path.string(),
                       "Free space on the file system of the data folder.");
  return lock;
}

instance_lock::instance_lock(instance_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
instance_lock& instance_lock::operator=(instance_lock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
instance_lock::~instance_lock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace caged::base
