// caged-mcp-server: the Model Context Protocol for one folder.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <cstdlib>

#include "mcp/server/stdio.hpp"

namespace caged::mcp {
namespace {

using agent::fd;

int complain(const std::string& message) {
  const std::string line = "caged-mcp-server: " + message + "\n";
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
  return 2;
}

// 0, 1 and 2 must be something, or the next file opened would be taken for the client.
void hold_standard_descriptors() {
  for (int i = 0; i < 3; ++i)
    if (::fcntl(i, F_GETFD) < 0) [[maybe_unused]]
      const int taken = ::open("/dev/null", O_RDWR);
}

fd block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

constexpr const char* instructions =
    "Files, commands and git of one folder, the workspace; paths are relative to it and cannot leave it. Prefer "
    "file_search and file_read over commands. "
    "Long results come in pages and say where to go on.";

int run(int argc, char** argv) {
  hold_standard_descriptors();
  const server_options o = read_server_options(argc, argv);
  if (!o.error.empty()) return complain(o.error + ". --help lists the flags.");
  if (o.help) return std::fputs(server_usage(), stdout) < 0;
  if (o.version) return std::puts("caged-mcp-server " CAGED_VERSION) < 0;
  agent::set_log_level(o.level);
  // Commands run as the same user: without this they could read the environment and memory of this process.
  ::prctl(PR_SET_DUMPABLE, 0);
  try {
    fd signals = block_signals();
    agent::loop events;
    workspace tools(events, o);
    for (const std::string& warning : o.warnings) agent::log_line(agent::log_level::warn, warning);
    agent::log_line(agent::log_level::debug, "serving " + tools.files().folder() + " on stdio");
    run_stdio(events, tools, {"caged-mcp-server", "Caged", CAGED_VERSION, instructions}, std::move(signals));
    // Jobs on other threads may still hold what the destructors would take from them.
    std::_Exit(0);
  } catch (const std::exception& e) {
    return complain(e.what());
  }
}

}  // namespace
}  // namespace caged::mcp

// The library's own handler brings 60 KiB of name demangling with it, to print what no one reads.
namespace __gnu_cxx {
void __verbose_terminate_handler() { ::abort(); }
}  // namespace __gnu_cxx

int main(int argc, char** argv) { return caged::mcp::run(argc, argv); }
