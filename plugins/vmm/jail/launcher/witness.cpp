#include "launcher/witness.hpp"

#include "launcher/descriptor_message.hpp"
#include "launcher/observe.hpp"
#include "launcher/spec.hpp"
#include "launcher/system.hpp"

#include <array>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace caged::vmm::jail {
namespace {

constexpr std::size_t queue_limit = 16u << 20, packet_limit = 48 * 1024, tracked_limit = 4096;
constexpr unsigned long set_flags = SECCOMP_IOW(4, __u64);  // SECCOMP_IOCTL_NOTIF_SET_FLAGS

std::uint64_t clock_us(clockid_t which) {
  timespec t{};
  ::clock_gettime(which, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000;
}

struct watched_box {
  std::uint64_t token = 0;
  unique_fd listener;
  std::uint64_t lost = 0;
  std::size_t tracked = 0;
};

// A process whose last exec was recorded and whose end is waited for.
struct tracked_process {
  std::shared_ptr<watched_box> box;
  pid_t host_pid = 0;
  std::uint64_t number = 0, since_us = 0;
  std::string path;
};

enum class source : std::uint8_t { listening, connection, listener, process };

class witness {
 public:
  witness() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    void* shared = ::mmap(nullptr, sizeof(witness_memory), PROT_READ | PROT_WRITE, MAP_SHARED, witness_memory_fd, 0);
    if (shared != MAP_FAILED) memory_ = static_cast<witness_memory*>(shared);
    watch(witness_listen_fd, source::listening, EPOLLIN);
  }

  int run() {
    for (;;) {
      flush();
      epoll_event events[64];
      const int n = ::epoll_wait(epoll_.get(), events, 64, pending_checks_.empty() ? -1 : 5);
      if (n < 0 && errno != EINTR) return 1;
      for (int i = 0; i < n; ++i) handle(events[i]);
      check_programs();
      // A host that is about to connect finds the socket closed and starts another witness.
      if (boxes_.empty() && connections_.empty() && had_connection_) return 0;
    }
  }

 private:
  void watch(int fd, source what, std::uint32_t events) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = static_cast<std::uint64_t>(what) << 32 | static_cast<std::uint32_t>(fd);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e);
  }

  void handle(const epoll_event& e) {
    const int fd = static_cast<int>(e.data.u64 & 0xffffffff);
    switch (static_cast<source>(e.data.u64 >> 32)) {
      case source::listening:
        return accept_connection();
      case source::connection:
        return serve(fd, e.events);
      case source::listener:
        return notified(fd, e.events);
      case source::process:
        return ended(fd);
    }
  }

  void accept_connection() {
    const int fd = ::accept4(witness_listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    had_connection_ = true;
    connections_.emplace(fd, unique_fd(fd));
    watch(fd, source::connection, EPOLLIN);
  }

  void close_connection(int fd) {
    if (fd == follower_) follower_ = -1;
    connections_.erase(fd);
  }

  static void reply(int to, const std::string& text, int fd = -1) {
    (void)send_with_descriptor(to, message_writer().word(text).text(), fd, MSG_DONTWAIT);
  }

  void serve(int fd, std::uint32_t events) {
    if (fd == follower_ && (events & EPOLLOUT) != 0) set_follower_events(EPOLLIN);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    std::array<char, 4096> text;
    unique_fd handed;
    const ssize_t n = receive_with_descriptor(fd, text.data(), text.size(), handed, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return close_connection(fd);
    message_reader in(std::string_view(text.data(), static_cast<std::size_t>(n)));
    const std::string verb = in.word();
    if (verb == "follow") {
      follower_ = fd;
      return;
    }
    const std::uint64_t token = in.number();
    if (verb == "add" && handed)
      add(token, std::move(handed));
    else if (verb == "drop")
      drop(token);
    else if (verb == "give") {
      const auto found = boxes_.find(token);
      return reply(fd, found == boxes_.end() ? "none" : "ok",
                   found == boxes_.end() ? -1 : found->second->listener.get());
    }
    reply(fd, "ok");
  }

  void add(std::uint64_t token, unique_fd listener) {
    std::uint64_t sync = 1;  // wake the reader on the writer's processor, where the kernel can
    (void)::ioctl(listener.get(), set_flags, sync);
    auto box = std::make_shared<watched_box>();
    box->token = token;
    by_listener_[listener.get()] = box;
    watch(listener.get(), source::listener, EPOLLIN);
    box->listener = std::move(listener);
    boxes_[token] = std::move(box);
  }

  void drop(std::uint64_t token) {
    const auto found = boxes_.find(token);
    if (found == boxes_.end()) return;
    by_listener_.erase(found->second->listener.get());
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second->listener.get(), nullptr);
    found->second->listener.reset();
    boxes_.erase(found);
  }

  // An execution waits for our answer, or (hang-up) no process of the box is left.
  void notified(int fd, std::uint32_t events) {
    const auto found = by_listener_.find(fd);
    if (found == by_listener_.end()) return;
    const auto box = found->second;
    if ((events & EPOLLIN) == 0) {
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
      return;
    }
    seccomp_notif n{};
    if (::ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0) return;  // it was killed meanwhile
    if (memory_ != nullptr) {
      memory_->token = box->token;
      __atomic_store_n(&memory_->notification, n.id, __ATOMIC_RELEASE);
    }
    const seen_exec seen = observe_exec(n);
    const bool valid = ::ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id) == 0;
    seccomp_notif_resp answer{};
    answer.id = n.id;
    // What is not there shall not run: were it let through, it could be put there a moment later, unrecorded.
    if (seen.missing)
      answer.error = -ENOENT;
    else
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    // Recorded before it runs.
    if (valid && !seen.missing) record(box, seen);
    (void)::ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    if (memory_ != nullptr) __atomic_store_n(&memory_->notification, 0, __ATOMIC_RELEASE);
  }

  void record(const std::shared_ptr<watched_box>& box, const seen_exec& seen) {
    const std::uint64_t now = clock_us(CLOCK_MONOTONIC), number = ++last_number_;
    if (queued_ > queue_limit) {
      ++box->lost;
      return;
    }
    if (box->lost != 0) {
      push(message_writer().word("lost").number(box->token).number(box->lost));
      box->lost = 0;
    }
    message_writer line;
    line.word("exec").number(box->token).number(number).number(clock_us(CLOCK_REALTIME)).number(as_number(seen.pid));
    line.number(inside(seen.host_ppid))
        .number(as_number(seen.host_pid))
        .number(as_number(seen.host_ppid))
        .number(seen.host_uid);
    line.word(seen.stdin_kind).number(seen.truncated ? 1 : 0).word(seen.path).word(seen.cwd).list(seen.argv);
    push(line);
    track(box, seen, number, now);
  }

  void track(const std::shared_ptr<watched_box>& box, const seen_exec& seen, std::uint64_t number, std::uint64_t now) {
    const auto running = by_pid_.find(seen.host_pid);
    if (running != by_pid_.end()) {
      const auto open = processes_.find(running->second);
      if (open != processes_.end() && ::syscall(SYS_pidfd_send_signal, open->first, 0, nullptr, 0) == 0) {
        // The same process executes something else: the earlier program ends here.
        finish(open->second, "replaced", 0, now);
        open->second = {box, seen.host_pid, number, now, seen.path};
        pending_checks_.emplace_back(open->first, number);
        return;
      }
      if (open != processes_.end()) ended(open->first);
    }
    unique_fd process(box->tracked < tracked_limit ? static_cast<int>(::syscall(SYS_pidfd_open, seen.host_pid, 0))
                                                   : -1);
    if (!process) {
      push(message_writer().word("end").number(box->token).number(number).number(0).word("unknown").number(0));
      return;
    }
    const int fd = process.release();
    watch(fd, source::process, EPOLLIN);
    ++box->tracked;
    by_pid_[seen.host_pid] = fd;
    inside_[seen.host_pid] = seen.pid;
    processes_[fd] = {box, seen.host_pid, number, now, seen.path};
    pending_checks_.emplace_back(fd, number);
  }

  void finish(const tracked_process& p, const char* how, int status, std::uint64_t now) {
    push(message_writer()
             .word("end")
             .number(p.box->token)
             .number(p.number)
             .number(now - p.since_us)
             .word(how)
             .number(as_number(status)));
  }

  void ended(int fd) {
    const auto found = processes_.find(fd);
    if (found == processes_.end()) return;
    const tracked_process p = std::move(found->second);
    const seen_end end = observe_end(fd, p.host_pid);
    finish(p, end.known ? "exited" : "unknown", end.status, clock_us(CLOCK_MONOTONIC));
    processes_.erase(found);
    if (const auto by = by_pid_.find(p.host_pid); by != by_pid_.end() && by->second == fd) {
      by_pid_.erase(by);
      inside_.erase(p.host_pid);
    }
    --p.box->tracked;
    ::close(fd);
  }

  // A moment after its start, each program that still runs is compared with what was recorded of it.
  void check_programs() {
    const std::uint64_t now = clock_us(CLOCK_MONOTONIC);
    while (!pending_checks_.empty()) {
      const auto [fd, number] = pending_checks_.front();
      const auto found = processes_.find(fd);
      if (found != processes_.end() && found->second.number == number) {
        if (now - found->second.since_us < 3000) return;
        const std::string program = running_program(found->second.host_pid);
        if (!program.empty() && program != found->second.path)
          push(message_writer().word("ran").number(found->second.box->token).number(number).word(program));
      }
      pending_checks_.pop_front();
    }
  }

  static std::uint64_t as_number(int value) { return static_cast<std::uint64_t>(static_cast<std::uint32_t>(value)); }

  // The number that a process of ours has inside. A parent that never executed anything is asked for.
  std::uint64_t inside(pid_t host_pid) {
    const auto found = inside_.find(host_pid);
    if (found != inside_.end()) return as_number(found->second);
    return as_number(inside_number(host_pid));
  }

  void push(const message_writer& line) {
    queued_ += line.text().size() + sizeof(std::string);
    queue_.push_back(line.text());
  }

  void set_follower_events(std::uint32_t events) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = static_cast<std::uint64_t>(source::connection) << 32 | static_cast<std::uint32_t>(follower_);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, follower_, &e);
  }

  void flush() {
    while (follower_ >= 0 && !queue_.empty()) {
      std::string packet;
      std::size_t count = 0;
      for (const auto& line : queue_) {
        if (!packet.empty() && packet.size() + line.size() > packet_limit) break;
        packet += line;
        ++count;
      }
      if (::send(follower_, packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EAGAIN || errno == ENOBUFS) return set_follower_events(EPOLLIN | EPOLLOUT);
        follower_ = -1;  // gone; the next one gets what is left
        return;
      }
      for (; count > 0; --count) {
        queued_ -= queue_.front().size() + sizeof(std::string);
        queue_.pop_front();
      }
    }
  }

  unique_fd epoll_;
  witness_memory* memory_ = nullptr;
  int follower_ = -1;
  bool had_connection_ = false;
  std::map<int, unique_fd> connections_;
  std::unordered_map<std::uint64_t, std::shared_ptr<watched_box>> boxes_;
  std::unordered_map<int, std::shared_ptr<watched_box>> by_listener_;
  std::unordered_map<int, tracked_process> processes_;  // by pidfd
  std::unordered_map<pid_t, int> by_pid_;
  std::unordered_map<pid_t, pid_t> inside_;
  std::deque<std::pair<int, std::uint64_t>> pending_checks_;
  std::deque<std::string> queue_;
  std::size_t queued_ = 0;
  // A witness that follows another one must not use its numbers again.
  std::uint64_t last_number_ = clock_us(CLOCK_REALTIME);
};

}  // namespace

int run_witness() {
  // A child of nobody that could wait for it: the host that started it may end first, and starts another one after it.
  const pid_t child = ::fork();
  if (child != 0) return child < 0 ? 1 : 0;
  ::prctl(PR_SET_NAME, "caged-witness");
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  // The last process to be chosen when memory runs out: every box waits for it. Refused to an ordinary user.
  unique_fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (score) (void)!::write(score.get(), "-900", 4);
  witness w;
  return w.run();
}

}  // namespace caged::vmm::jail
