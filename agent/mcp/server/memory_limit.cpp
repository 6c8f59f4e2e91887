#include "mcp/server/memory_limit.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "proc_fs.hpp"

namespace caged::mcp {
namespace {

bool put(const agent::fd& folder, const char* name, const std::string& text) {
  const agent::fd file(::openat(folder.get(), name, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

struct place {
  std::string folder;
  const char* limit;
};

// Where a group of ours could be, best first: below our own, or beside it, where the version 2 tree has no processes of
// its own in the way.
std::vector<place> places() {
  std::vector<place> out;
  const std::string mine = agent::read_small("/proc/self/cgroup", 1 << 16);
  for (std::size_t at = 0; at < mine.size();) {
    const std::size_t end = std::min(mine.find('\n', at), mine.size());
    const std::string line = mine.substr(at, end - at);
    at = end + 1;
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.find(",memory,") != std::string::npos)
      out.push_back({"/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes"});
    if (controllers != ",,") continue;
    for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
      out.push_back({root + path, "memory.max"});
      if (!path.empty()) out.push_back({root + path.substr(0, path.rfind('/')), "memory.max"});
    }
  }
  return out;
}

}  // namespace

memory_limit memory_limit::make(std::uint64_t bytes, std::uint64_t processes) {
  memory_limit made;
  made.bytes_ = bytes;
  if (bytes == 0) return made;
  made.name_ = "caged-mcp-" + std::to_string(::getpid());
  for (const place& p : places()) {
    agent::fd parent(::open(p.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parent || ::mkdirat(parent.get(), made.name_.c_str(), 0755) != 0) continue;
    agent::fd group(::openat(parent.get(), made.name_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!group || !put(group, p.limit, std::to_string(bytes))) {
      ::unlinkat(parent.get(), made.name_.c_str(), AT_REMOVEDIR);
      continue;
    }
    // Where there are such files; the limit stands without them, only later.
    put(group, "memory.swap.max", "0");
    put(group, "memory.oom.group", "0");
    put(group, "pids.max", std::to_string(processes));
    made.parent_ = std::move(parent);
    made.group_ = std::move(group);
    break;
  }
  return made;
}

void memory_limit::join() const {
  if (bytes_ == 0 || (group_ && put(group_, "cgroup.procs", "0"))) return;
  rlimit l{};
  if (::getrlimit(RLIMIT_DATA, &l) != 0) return;
  l.rlim_cur = l.rlim_max = std::min<rlim_t>(l.rlim_max, bytes_);
  ::setrlimit(RLIMIT_DATA, &l);
}

void memory_limit::remove() const {
  // The kernel tells a little late that a group is empty.
  for (int round = 0; group_ && round < 100; ++round) {
    if (::unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR) == 0) return;
    const timespec moment{0, 5'000'000};
    ::nanosleep(&moment, nullptr);
  }
}

}  // namespace caged::mcp
