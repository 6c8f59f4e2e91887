#include "log.hpp"

#include <unistd.h>

#include <caged/wire/message.hpp>
#include <chrono>

namespace caged::agent {
namespace {
log_level threshold = log_level::info;
constexpr const char* names[] = {"unset", "debug", "info", "warn", "error"};
}  // namespace

void set_log_level(log_level level) noexcept { threshold = level; }

log_level log_level_of(std::string_view name) noexcept {
  for (std::uint8_t i = 1; i < 5; ++i)
    if (name == names[i]) return static_cast<log_level>(i);
  return name == "warning" ? log_level::warn : log_level::unset;
}

void log_line(log_level level, std::string_view message) {
  if (level < threshold) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const wire::json line{{"time_unix_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now).count()},
                        {"level", names[static_cast<std::size_t>(level)]},
                        {"channel", "agent"},
                        {"message", message}};
  const std::string text = wire::to_text(line) + "\n";
  // A log nobody reads must not stop the agent: stderr is non-blocking or a file; a short write loses the rest.
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace caged::agent
