#include "mcp/server/start.hpp"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace caged::mcp {
namespace {

constexpr const char* instructions =
    "Files, commands and git of one folder, the workspace; paths are relative to it and cannot leave it. Prefer "
    "file_search and file_read over commands. "
    "Long results come in pages and say where to go on.";

}  // namespace

int complain(const std::string& message) {
  const std::string line = "caged-mcp-server: " + message + "\n";
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
  return 2;
}

void hold_standard_descriptors() {
  for (int i = 0; i < 3; ++i)
    if (::fcntl(i, F_GETFD) < 0) [[maybe_unused]]
      const int taken = ::open("/dev/null", O_RDWR);
}

agent::fd block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return agent::fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

identity server_identity() { return {"caged-mcp-server", "Caged", CAGED_VERSION, instructions}; }

std::string become_listener(char** argv) {
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  std::string path = n > 0 ? std::string(self, static_cast<std::size_t>(n)) : std::string();
  path = path.substr(0, path.rfind('/') + 1) + "caged-mcp-listen";
  ::execv(path.c_str(), argv);
  return "start " + path + ": " + std::strerror(errno) +
         ". It is installed beside this program and needed for the modes ws and http";
}

}  // namespace caged::mcp
