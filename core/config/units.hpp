// Amounts as people write them: "15m", "2GB", "0.5".
#pragma once

#include <caged/result.hpp>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace caged::config {

// Seconds as a plain number, or numbers with s, m, h, d: "900", "15m", "1h30m". Not negative, at most ten years.
result<std::chrono::seconds> parse_duration(std::string_view text);

enum class size_unit : std::uint8_t { unset = 0, mebibytes, gibibytes };

// A size in `unit`: a plain number is already in it; k, m, g, t (with or without b, ib) are converted, powers of 1024.
// It must come out as a whole number of units; not negative.
result<std::int64_t> parse_size(std::string_view text, size_unit unit);

// A finite, not negative decimal number.
result<double> parse_number(std::string_view text);

}  // namespace caged::config
