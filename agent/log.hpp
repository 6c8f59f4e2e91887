// One line per event on stderr, as JSON, above the chosen level.
#pragma once

#include <cstdint>
#include <string_view>

namespace caged::agent {

enum class log_level : std::uint8_t { unset = 0, debug, info, warn, error };

void set_log_level(log_level level) noexcept;
// "debug", "info", "warn", "error"; unset for anything else.
log_level log_level_of(std::string_view name) noexcept;
void log_line(log_level level, std::string_view message);

}  // namespace caged::agent
