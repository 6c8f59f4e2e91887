// The server's life: ordered start, waiting, ordered end.
#pragma once

#include <filesystem>

#include "core/config/host_config.hpp"

namespace caged::app {

// Runs until SIGTERM or SIGINT, then drains and stops; sandboxes live on and are adopted by the next server. Returns
// the process's exit code: 0 after a clean stop, 1 when it could not start (the reason is on stderr).
int serve(const config::host_config& config, const std::filesystem::path& program);

}  // namespace caged::app
