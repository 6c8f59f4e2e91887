// The host's log: channels and levels, to stderr. Text from outside cannot forge lines or move a terminal's cursor.
#pragma once

#include <caged/host.hpp>
#include <caged/result.hpp>
#include <string>
#include <string_view>

namespace caged::base {

enum class log_format : std::uint8_t { unset = 0, text, json_lines };

struct log_options {
  log_level level = log_level::info;
  log_format format = log_format::text;
  int fd = 2;
};

// May be called again, from one thread; before the first call messages of info and above go to stderr as text.
void start_log(log_options options);

// Thread-safe; never throws; returns when the line is written. Control characters and invalid UTF-8 come out as \xNN.
void log(log_level level, std::string_view channel, std::string_view message) noexcept;

// Whether a message of this level would be written; for messages that are costly to make.
bool log_enabled(log_level level) noexcept;

result<log_level> parse_log_level(std::string_view text);  // debug, info, warn (warning), error
std::string_view to_string(log_level level) noexcept;

// The text with control characters, DEL, C1 controls and invalid UTF-8 as \xNN; the rest as it is.
std::string escape_controls(std::string_view text);

}  // namespace caged::base
