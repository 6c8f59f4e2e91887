#include "guest/identity.hpp"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include "arguments.hpp"

namespace caged::agent {
namespace {

void write_file(const char* path, const std::string& text) {
  // Not through a link that a workload may have left.
  ::unlink(path);
  const fd file(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw os_failure(errno, std::string("write ") + path);
}

void reseed(const std::string& secret) {
  std::vector<int> room(2 + (secret.size() + sizeof(int) - 1) / sizeof(int));
  auto* info = reinterpret_cast<rand_pool_info*>(room.data());
  info->entropy_count = static_cast<int>(secret.size() * 8);
  info->buf_size = static_cast<int>(secret.size());
  std::memcpy(info->buf, secret.data(), secret.size());
  const fd random(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
  if (!random || ::ioctl(random.get(), RNDADDENTROPY, info) != 0 || ::ioctl(random.get(), RNDRESEEDCRNG) != 0)
    throw os_failure(errno, "reseed the random numbers");
}

}  // namespace

void assume_identity(const json& who) {
  const arguments args(who);
  const auto secret = base64_decode(args.text("random"));
  if (!secret || secret->size() < 32 || secret->size() > 512)
    throw bad_argument("/random", "expected 32 to 512 bytes in base64");
  reseed(*secret);
  const std::int64_t now = args.number("time_unix_ns", 0, INT64_MAX);
  const timespec t{now / 1000000000, now % 1000000000};
  if (::clock_settime(CLOCK_REALTIME, &t) != 0) throw os_failure(errno, "set the clock");
  const std::string id = args.text("id");
  if (::sethostname(id.data(), id.size()) != 0) throw os_failure(errno, "set the host name");
  ::mkdir("/etc", 0755);
  write_file("/etc/hostname", id + "\n");
  write_file("/etc/hosts", "127.0.0.1 localhost " + id + "\n::1 localhost\n");
  write_file("/etc/machine-id", args.text("machine_id") + "\n");
  // The kernel's own cannot be changed, only covered.
  write_file("/run/caged-boot-id", args.text("boot_id") + "\n");
  ::umount2("/proc/sys/kernel/random/boot_id", MNT_DETACH);
  if (::mount("/run/caged-boot-id", "/proc/sys/kernel/random/boot_id", nullptr, MS_BIND, nullptr) != 0)
    throw os_failure(errno, "cover the boot id");
}

}  // namespace caged::agent
