#include "core/app/serve.hpp"

#include <sys/resource.h>

#include <cstdio>

#include "core/app/server.hpp"
#include "core/base/log.hpp"

namespace caged::app {
namespace {

void start_log(const config::host_config& config) {
  base::log_options options;
  if (auto level = base::parse_log_level(config.log_level)) options.level = *level;
  options.format = config.log_format == "json" ? base::log_format::json_lines : base::log_format::text;
  base::start_log(options);
}

// A thousand sandboxes need some thousands of descriptors; the soft limit of a shell is 1,024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int serve(const config::host_config& config, const std::filesystem::path& program) {
  start_log(config);
  raise_descriptor_limit();
  signal(SIGPIPE, SIG_IGN);
  // Blocked before any thread starts, so that only the sigwait below takes them.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  server host(config, program);
  if (auto started = host.start(); !started) {
    std::fprintf(stderr, "error: %s\n", describe(started.error()).c_str());
    host.stop();
    return 1;
  }
  std::fprintf(stderr, "caged listens on %s\n", host.address().c_str());
  if (host.made_first_key())
    std::fprintf(stderr, "a first API key was made: %s (readable by you alone)\n", host.first_key().c_str());
  int signal_number = 0;
  sigwait(&ends, &signal_number);
  base::log(log_level::info, "host",
            std::string("stopping on ") + (signal_number == SIGTERM ? "SIGTERM" : "SIGINT") + "; sandboxes live on");
  // A second signal ends it at once.
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  host.stop();
  return 0;
}

}  // namespace caged::app
