#include "process.hpp"

#include "files.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cerrno>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace caged::vmm::jail {
namespace {

const std::string& boot_id() {
  static const std::string id = [] {
    auto text = read_small_file("/proc/sys/kernel/random/boot_id");
    std::string out = text ? *text : std::string("unknown");
    while (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
  }();
  return id;
}

// Field 22 of /proc/PID/stat. The name in field 2 may hold anything, so counting starts behind its last ')'.
std::optional<std::uint64_t> start_ticks(pid_t pid) {
  auto text = read_small_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  auto at = text->rfind(')');
  if (at == std::string::npos) return std::nullopt;
  for (int field = 2; field < 22; ++field) {
    at = text->find(' ', at + 1);
    if (at == std::string::npos) return std::nullopt;
  }
  return std::strtoull(text->c_str() + at + 1, nullptr, 10);
}

}  // namespace

json process_identity::to_json() const { return {{"pid", pid}, {"start_ticks", start_ticks}, {"boot", boot}}; }

process_identity process_identity::from_json(const json& value) {
  process_identity out;
  if (!value.is_object()) return out;
  if (const auto it = value.find("pid"); it != value.end() && it->is_number_integer()) out.pid = it->get<pid_t>();
  if (const auto it = value.find("start_ticks"); it != value.end() && it->is_number_integer())
    out.start_ticks = it->get<std::uint64_t>();
  if (const auto it = value.find("boot"); it != value.end() && it->is_string()) out.boot = it->get<std::string>();
  return out;
}

std::optional<process_identity> identify(pid_t pid) {
  const auto ticks = start_ticks(pid);
  if (!ticks) return std::nullopt;
  return process_identity{pid, *ticks, boot_id()};
}

unique_fd open_process(const process_identity& identity) {
  if (identity.pid <= 1 || identity.boot != boot_id()) return {};
  unique_fd fd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!fd) return {};
  // Looked at after the descriptor was opened: if the start fits now, the descriptor stands for that process.
  const auto ticks = start_ticks(identity.pid);
  if (!ticks || *ticks != identity.start_ticks) return {};
  pollfd gone{fd.get(), POLLIN, 0};
  if (::poll(&gone, 1, 0) == 1) return {};
  return fd;
}

result<void> kill_and_wait(int pidfd, std::chrono::milliseconds deadline) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) != 0 && errno != ESRCH)
    return errno_error(errno, "kill the sandbox's first process");
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd gone{pidfd, POLLIN, 0};
    const int rc = ::poll(&gone, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (rc == 1) return {};
    if (rc < 0 && errno == EINTR) continue;
    if (rc < 0) return errno_error(errno, "wait for the sandbox's first process");
    return fail(errc::deadline_exceeded, "sandbox_does_not_die",
                "the sandbox's processes did not end within the deadline after SIGKILL",
                "Try again; a process may be in uninterruptible I/O.");
  }
}

std::optional<int> reap(int pidfd) {
  siginfo_t info{};
  int rc = 0;
  do rc = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
  while (rc != 0 && errno == EINTR);
  if (rc != 0 || info.si_pid == 0) return std::nullopt;
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace caged::vmm::jail
