// What the box uses, as the reference's metrics message.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "arguments.hpp"

namespace caged::agent {

class metrics_sampler {
 public:
  explicit metrics_sampler(std::string disk_path);
  // {cpu_percent, memory_used_mb, memory_total_mb, disk_used_mb, disk_total_mb, num_processes, timestamp, …}.
  // cpu_percent: share of all processors (0..100) since the last sample that is at least 200 ms old.
  json sample();

 private:
  struct cpu_reading {
    std::chrono::steady_clock::time_point at;
    double busy_seconds = 0;
  };
  static cpu_reading read_cpu();
  std::string disk_path_;
  cpu_reading last_;
  double percent_ = 0;
};

}  // namespace caged::agent
