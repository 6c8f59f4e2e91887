// caged-mcp-server: the Model Context Protocol for one folder.
#include <sys/prctl.h>

#include <cstdio>
#include <cstdlib>

#include "mcp/server/isolate.hpp"
#include "mcp/server/start.hpp"
#include "mcp/server/stdio.hpp"

namespace caged::mcp {
namespace {

using agent::fd;

int run(int argc, char** argv) {
  hold_standard_descriptors();
  server_options o = read_server_options(argc, argv);
  if (!o.error.empty()) return complain(o.error + ". --help lists the flags.");
  if (o.help) return std::fputs(server_usage(), stdout) < 0;
  if (o.version) return std::puts("caged-mcp-server " CAGED_VERSION) < 0;
  if (o.mode != serve_mode::stdio) return complain(become_listener(argv));
  hide_token(argc, argv);
  agent::set_log_level(o.level);
  if (const std::string failed = enter_guarded(o); !failed.empty()) return complain(failed);
  if (const std::string failed = close_jail(o); !failed.empty()) return complain(failed);
  // Commands run as the same user: without this they could read the environment and memory of this process.
  ::prctl(PR_SET_DUMPABLE, 0);
  try {
    fd signals = block_signals();
    agent::loop events;
    workspace tools(events, o);
    for (const std::string& warning : o.warnings) agent::log_line(agent::log_level::warn, warning);
    agent::log_line(agent::log_level::debug, "serving " + tools.files().folder() + " on stdio");
    run_stdio(events, tools, server_identity(), std::move(signals));
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
