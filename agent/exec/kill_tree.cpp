#include "exec/kill_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <set>

#include "proc_fs.hpp"

namespace caged::agent {
namespace {

constexpr std::uint64_t most_cookie = std::uint64_t{1} << 61;

// The mark of a process; 0 when it has none or may not be looked at.
std::uint64_t cookie_of(pid_t pid) {
  rlimit limit{};
  if (::prlimit(pid, RLIMIT_RTTIME, nullptr, &limit) == 0) return limit.rlim_max;
  // Another user's process: the file is readable where the system call is not allowed.
  const std::string text = read_small("/proc/" + std::to_string(pid) + "/limits", 4096);
  const std::size_t line = text.find("Max realtime timeout");
  if (line == std::string::npos) return 0;
  char* end = nullptr;
  std::strtoull(text.c_str() + line + 20, &end, 10);  // soft
  return std::strtoull(end, nullptr, 10);              // hard; "unlimited" reads as 0
}

}  // namespace

std::uint64_t new_cookie() {
  static const std::uint64_t top = [] {
    rlimit limit{};
    if (::getrlimit(RLIMIT_RTTIME, &limit) != 0) return std::uint64_t{0};
    // Inside a box inside a box the limit is a mark already, and may only be lowered.
    return limit.rlim_max == RLIM_INFINITY ? most_cookie : std::uint64_t{limit.rlim_max};
  }();
  if (top < (std::uint64_t{1} << 40)) return 0;
  // Random: an agent on the bare host sees the processes of every box, and must not take them for its own.
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) return 0;
  return top / 2 + random % (top / 2);
}

std::vector<pid_t> tree_members(pid_t root, std::uint64_t cookie) {
  const std::vector<process_row> all = read_processes();
  const pid_t self = ::getpid();
  std::set<pid_t> members;
  for (const process_row& row : all) {
    if (row.pid == self || row.state == 'Z' || row.state == 'X') continue;
    if (row.pid == root || (root > 0 && row.session == root) || (cookie != 0 && cookie_of(row.pid) == cookie))
      members.insert(row.pid);
  }
  for (bool grew = true; grew;) {
    grew = false;
    for (const process_row& row : all)
      if (row.pid != self && row.state != 'Z' && members.count(row.parent) != 0 && members.insert(row.pid).second)
        grew = true;
  }
  std::vector<pid_t> out(members.begin(), members.end());
  const auto at = std::find(out.begin(), out.end(), root);
  if (at != out.end()) std::rotate(out.begin(), at, at + 1);
  return out;
}

void signal_tree(pid_t root, std::uint64_t cookie, int signal) {
  if (signal != SIGKILL) {
    for (const pid_t pid : tree_members(root, cookie)) ::kill(pid, signal);
    return;
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  std::set<pid_t> stopped;
  for (bool found_new = true; found_new && std::chrono::steady_clock::now() < deadline;) {
    found_new = false;
    for (const pid_t pid : tree_members(root, cookie))
      if (stopped.insert(pid).second) {
        found_new = true;
        ::kill(pid, SIGSTOP);
      }
  }
  // A stopped process cannot fork, so what was found is all there is; a second look costs little and proves it.
  for (int round = 0; round < 3; ++round) {
    const auto members = tree_members(root, cookie);
    if (members.empty()) return;
    for (const pid_t pid : members) ::kill(pid, SIGKILL);
  }
}

}  // namespace caged::agent
