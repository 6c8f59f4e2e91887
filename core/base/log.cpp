#include "core/base/log.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <atomic>
#include <caged/json.hpp>
#include <cerrno>

#include "core/base/time.hpp"

namespace caged::base {
namespace {

spdlog::level::level_enum to_spdlog(log_level level) {
  switch (level) {
    case log_level::debug:
      return spdlog::level::debug;
    case log_level::warn:
      return spdlog::level::warn;
    case log_level::error:
      return spdlog::level::err;
    case log_level::info:
    case log_level::unset:
      break;
  }
  return spdlog::level::info;
}

log_level from_spdlog(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return log_level::debug;
  if (level == spdlog::level::info) return log_level::info;
  return level == spdlog::level::warn ? log_level::warn : log_level::error;
}

// Writes each line with one write(2), so that lines of several processes on one terminal do not mix.
class fd_sink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  fd_sink(int fd, log_format format) : fd_(fd), format_(format) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& m) override {
    const auto since = m.time.time_since_epoch();
    const std::string time = format_time(std::chrono::duration_cast<std::chrono::microseconds>(since).count());
    const std::string_view channel(m.logger_name.data(), m.logger_name.size());
    const std::string_view text(m.payload.data(), m.payload.size());
    const std::string_view level = to_string(from_spdlog(m.level));
    std::string line;
    if (format_ == log_format::json_lines) {
      json j;
      j["time"] = time;
      j["level"] = level;
      j["channel"] = escape_controls(channel);
      j["message"] = escape_controls(text);
      line = to_text(j);
    } else {
      line = time + " " + std::string(level) + std::string(level.size() < 5 ? 5 - level.size() : 0, ' ') + " " +
             escape_controls(channel) + ": " + escape_controls(text);
    }
    write_line(line + "\n");
  }
  void flush_() override {}

 private:
  void write_line(std::string_view line) const {
    while (!line.empty()) {
      const ssize_t n = ::write(fd_, line.data(), line.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;  // nowhere to say that the log cannot be written
      line.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  int fd_;
  log_format format_;
};

struct state {
  std::shared_ptr<spdlog::sinks::sink> sink;
  std::atomic<int> level{static_cast<int>(log_level::info)};
};

state& current() {
  static state s{std::make_shared<fd_sink>(2, log_format::text)};
  return s;
}

// Length of the well-formed UTF-8 sequence at the front, 0 when there is none.
std::size_t utf8_length(std::string_view t) {
  const auto at = [t](std::size_t i) { return i < t.size() ? static_cast<unsigned char>(t[i]) : 0u; };
  const auto tail = [&at](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  const unsigned a = at(0);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return tail(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    const bool wrong = (a == 0xe0 && at(1) < 0xa0) || (a == 0xed && at(1) > 0x9f);
    return tail(1) && tail(2) && !wrong ? 3 : 0;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    const bool wrong = (a == 0xf0 && at(1) < 0x90) || (a == 0xf4 && at(1) > 0x8f);
    return tail(1) && tail(2) && tail(3) && !wrong ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string escape_controls(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    const auto c = static_cast<unsigned char>(text.front());
    const bool c1 = n == 2 && c == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    const std::size_t used = n == 0 ? 1 : n;
    if (n == 0 || c1 || c < 0x20 || c == 0x7f) {
      for (std::size_t i = 0; i < used; ++i) {
        const auto b = static_cast<unsigned char>(text[i]);
        out += {'\\', 'x', digits[b >> 4], digits[b & 15]};
      }
    } else {
      out += text.substr(0, used);
    }
    text.remove_prefix(used);
  }
  return out;
}

void start_log(log_options options) {
  current().sink = std::make_shared<fd_sink>(options.fd, options.format);
  current().level = static_cast<int>(options.level);
}

bool log_enabled(log_level level) noexcept { return static_cast<int>(level) >= current().level.load(); }

void log(log_level level, std::string_view channel, std::string_view message) noexcept {
  if (!log_enabled(level)) return;
  try {
    spdlog::details::log_msg m(spdlog::string_view_t(channel.data(), channel.size()), to_spdlog(level),
                               spdlog::string_view_t(message.data(), message.size()));
    current().sink->log(m);
  } catch (...) {
    // A log line is never worth more than what it tells about.
  }
}

result<log_level> parse_log_level(std::string_view text) {
  if (text == "debug") return log_level::debug;
  if (text == "info") return log_level::info;
  if (text == "warn" || text == "warning") return log_level::warn;
  if (text == "error") return log_level::error;
  return fail(errc::invalid_argument, "invalid_log_level",
              "the log level \"" + escape_controls(text.substr(0, 64)) + "\" is not known",
              "Use debug, info, warn or error.");
}

std::string_view to_string(log_level level) noexcept {
  switch (level) {
    case log_level::debug:
      return "debug";
    case log_level::info:
      return "info";
    case log_level::warn:
      return "warn";
    case log_level::error:
      return "error";
    case log_level::unset:
      break;
  }
  return "unset";
}

}  // namespace caged::base
