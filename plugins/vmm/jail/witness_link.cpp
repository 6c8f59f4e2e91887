#include "witness_link.hpp"

#include "launcher/descriptor_message.hpp"
#include "launcher/spec.hpp"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <array>
#include <cerrno>

namespace caged::vmm::jail {
namespace {

constexpr const char* socket_name = "witness.sock";
constexpr const char* memory_name = "witness.memory";
constexpr int answer_deadline_ms = 5000;

sockaddr_un address_in(int folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(folder) + "/" + socket_name;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// Spawned twice removed, so that nobody has to wait for it: it outlives this process on purpose.
result<void> spawn_witness(const std::filesystem::path& launcher, int listening, int memory) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 2);
  // Out of the way first: either may already have the other's number.
  ::posix_spawn_file_actions_adddup2(&actions, listening, 10);
  ::posix_spawn_file_actions_adddup2(&actions, memory, 11);
  ::posix_spawn_file_actions_adddup2(&actions, 10, witness_listen_fd);
  ::posix_spawn_file_actions_adddup2(&actions, 11, witness_memory_fd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, witness_memory_fd + 1);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::string name = launcher.string(), mode = "--witness";
  char* argv[] = {name.data(), mode.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = -1;
  const int err = ::posix_spawn(&pid, name.c_str(), &actions, &attributes, argv, environment);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (err != 0) return errno_error(err, "start the witness " + name, "Reinstall Caged.");
  // It forks at once and its first process ends.
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace

result<unique_fd> witness_link::dial() const {
  unique_fd s(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!s) return errno_error(errno, "make a socket");
  const sockaddr_un address = address_in(folder_.get());
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error(errno, "connect to the witness");
  return s;
}

result<void> witness_link::start() {
  unique_fd s(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!s) return errno_error(errno, "make the witness's socket");
  (void)::unlinkat(folder_.get(), socket_name, 0);
  const sockaddr_un address = address_in(folder_.get());
  if (::bind(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(s.get(), 16) != 0)
    return errno_error(errno, "listen for the witness");
  return spawn_witness(launcher_, s.get(), memory_.get());
}

// A witness that is just ending may still take connections and closes them: then there is another attempt.
result<void> witness_link::connect_or_start() {
  result<void> done;
  for (int attempt = 0; attempt < 5; ++attempt) {
    done = connect();
    if (done) return done;
    if (auto started = start(); !started) return started;
  }
  return done;
}

result<void> witness_link::connect() {
  auto commands = dial();
  auto records = dial();
  if (!commands) return commands.error();
  if (!records) return records.error();
  const std::string follow = message_writer().word("follow").text();
  if (!send_with_descriptor(records->get(), follow, -1)) return errno_error(errno, "follow the witness");
  commands_ = std::move(*commands);
  records_ = std::make_shared<unique_fd>(std::move(*records));
  // Only an answer shows that it lives.
  for (const auto& [token, listener] : listeners_) {
    if (auto given = ask_once(token, "add", listener.get(), nullptr); !given) return given;
  }
  return ask_once(0, "drop", -1, nullptr);
}

result<void> witness_link::open(int folder) {
  const std::lock_guard lock(guard_);
  folder_.reset(::fcntl(folder, F_DUPFD_CLOEXEC, 3));
  // A file, so that the next host shares it with the witness that this one started.
  memory_.reset(::openat(folder, memory_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!folder_ || !memory_ || ::ftruncate(memory_.get(), sizeof(witness_memory)) != 0)
    return errno_error(errno, "share memory with the witness");
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  if (auto connected = connect_or_start(); !connected) return connected;
  closing_ = false;
  reader_ = std::thread([this] { read_records(); });
  return {};
}

void witness_link::close() {
  {
    const std::lock_guard lock(guard_);
    if (!reader_.joinable()) return;
    closing_ = true;
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  reader_.join();
  if (listeners_.empty()) {
    // The witness ends by itself once nobody needs it; nothing of it stays.
    (void)::unlinkat(folder_.get(), socket_name, 0);
    (void)::unlinkat(folder_.get(), memory_name, 0);
  }
  records_.reset();
  for (unique_fd* fd : {&commands_, &folder_, &memory_, &wake_}) fd->reset();
  listeners_.clear();
}

result<void> witness_link::ask_once(std::uint64_t token, const char* verb, int fd, unique_fd* handed) {
  const std::string text = message_writer().word(verb).number(token).text();
  std::array<char, 64> answer;
  unique_fd with;
  if (!send_with_descriptor(commands_.get(), text, fd)) return errno_error(errno, "ask the witness");
  pollfd ready{commands_.get(), POLLIN, 0};
  int rc = 0;
  do rc = ::poll(&ready, 1, answer_deadline_ms);
  while (rc < 0 && errno == EINTR);
  if (rc != 1 || receive_with_descriptor(commands_.get(), answer.data(), answer.size(), with) <= 0)
    return fail(errc::unavailable, "witness_failed", "the process that observes executions does not answer",
                "Look at the host's log; try again.");
  if (handed != nullptr) *handed = std::move(with);
  return {};
}

result<void> witness_link::ask(std::uint64_t token, const char* verb, int fd, unique_fd* handed) {
  auto done = ask_once(token, verb, fd, handed);
  if (done) return done;
  replace_witness();
  return ask_once(token, verb, fd, handed);
}

result<void> witness_link::add(std::uint64_t token, unique_fd listener) {
  const std::lock_guard lock(guard_);
  const int fd = listener.get();
  listeners_[token] = std::move(listener);
  auto added = ask(token, "add", fd, nullptr);
  if (!added) listeners_.erase(token);
  return added;
}

void witness_link::drop(std::uint64_t token) {
  const std::lock_guard lock(guard_);
  listeners_.erase(token);
  if (commands_) (void)ask(token, "drop", -1, nullptr);
}

bool witness_link::take_over(std::uint64_t token) {
  const std::lock_guard lock(guard_);
  unique_fd listener;
  if (!ask(token, "give", -1, &listener) || !listener) return false;
  listeners_[token] = std::move(listener);
  return true;
}

// The dead witness may have been about to answer somebody.
void witness_link::replace_witness() {
  if (closing_) return;
  answer_for_the_dead();
  commands_.reset();
  records_.reset();
  auto again = connect_or_start();
  ++generation_;
  handlers_.lost(again ? "the witness ended and was started again; what it had not handed over is lost"
                       : "the witness ended and cannot be started again: " + describe(again.error()));
}

void witness_link::answer_for_the_dead() const {
  witness_memory last{};
  if (::pread(memory_.get(), &last, sizeof last, 0) != sizeof last || last.notification == 0) return;
  const auto found = listeners_.find(last.token);
  if (found == listeners_.end()) return;
  seccomp_notif_resp answer{};
  answer.id = last.notification;
  answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  (void)::ioctl(found->second.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

void witness_link::read_records() {
  std::string packet(256 * 1024, '\0');
  for (;;) {
    std::shared_ptr<unique_fd> from;
    std::uint64_t generation = 0;
    {
      const std::lock_guard lock(guard_);
      if (closing_) return;
      if (!records_) replace_witness();
      from = records_;
      generation = generation_;
    }
    pollfd ready[2] = {{from ? from->get() : -1, POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    (void)::poll(ready, 2, 50);
    if ((ready[0].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0) {
      unique_fd none;
      const ssize_t n = receive_with_descriptor(from->get(), packet.data(), packet.size(), none, MSG_DONTWAIT);
      if (n > 0) handlers_.packet(std::string_view(packet.data(), static_cast<std::size_t>(n)));
      if (n == 0 || (n < 0 && errno != EAGAIN)) {
        const std::lock_guard lock(guard_);
        // Somebody who asked may have replaced it already.
        if (!closing_ && generation == generation_) replace_witness();
      }
    }
    handlers_.tick();
  }
}

}  // namespace caged::vmm::jail
