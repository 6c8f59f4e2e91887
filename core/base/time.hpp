// Points in time: Unix microseconds inside, RFC 3339 in UTC outside.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace caged::base {

// The wall clock, in Unix microseconds.
std::int64_t now_us() noexcept;

// "2026-01-31T09:08:07.000123Z": always six digits, always UTC. Clamped to the years 0000 to 9999.
std::string format_time(std::int64_t time_us);

// RFC 3339 with "Z" or an offset, 0 to 9 digits of a second (cut after six), 'T' or a blank between; a leap second
// counts as the second after it. invalid_argument (reason "invalid_time") otherwise.
result<std::int64_t> parse_time(std::string_view text);

}  // namespace caged::base
