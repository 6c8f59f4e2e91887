// What computing costs: integers of micro-dollars from time, never floating point.
#pragma once

#include <cstdint>

namespace caged::meter {

// Per hour, in micro-dollars. Defaults are the published overage prices of the reference (docs/specification.md).
struct compute_prices {
  std::int64_t cpu = 10'000;       // one processor
  std::int64_t memory_gib = 5'000;
  std::int64_t disk_gib = 1'000;
};

struct compute_size {
  std::int64_t milli_cpus = 0;
  std::int64_t memory_mib = 0;
  std::int64_t disk_gib = 0;
};

// Rounded down; monotonic in `running_us`. Exact for 10^5 years of the largest sandbox (128-bit inside).
constexpr std::int64_t compute_cost_micro(const compute_prices& p, const compute_size& s,
                                          std::int64_t running_us) noexcept {
  if (running_us <= 0) return 0;
  __extension__ using wide = __int128;
  // Micro-dollars per hour, times 1000·1024 to stay whole for milli-processors and MiB.
  const wide rate = wide{s.milli_cpus} * p.cpu * 1024 + wide{s.memory_mib} * p.memory_gib * 1000 +
                    wide{s.disk_gib} * p.disk_gib * 1000 * 1024;
  return static_cast<std::int64_t>(rate * running_us / (wide{3'600'000'000} * 1000 * 1024));
}

// Bytes sent to the network: a cent for each 10^9. Rounded down; exact for any number of bytes.
constexpr std::int64_t egress_cost_micro(std::int64_t bytes) noexcept { return bytes <= 0 ? 0 : bytes / 100'000; }

}  // namespace caged::meter
