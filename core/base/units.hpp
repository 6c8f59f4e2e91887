// Durations and sizes as people write them.
#pragma once

#include <caged/result.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace caged::base {

// "250ms", "5s", "10m", "1h30m", "2d", "1.5h"; a bare number is seconds. Not negative, at most 100 years.
// invalid_argument (reason "invalid_duration") otherwise.
result<std::chrono::microseconds> parse_duration(std::string_view text);
// The shortest exact form: "1h30m", "5s", "250ms", "0s".
std::string format_duration(std::chrono::microseconds time);

// "512", "64KiB", "1.5 GiB", "10MB", "2g": KiB, MiB, GiB, TiB and the letters K M G T are powers of 1024, KB, MB, GB,
// TB powers of 1000; any case. invalid_argument (reason "invalid_size") otherwise.
result<std::uint64_t> parse_bytes(std::string_view text);
// "512 B", "1.5 GiB": for people, one decimal.
std::string format_bytes(std::uint64_t bytes);

}  // namespace caged::base
