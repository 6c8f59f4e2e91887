// Counts what the transport does and writes it as Prometheus text.
#pragma once

#include <array>
#include <caged/json.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace caged::rest {

// Thread-safe. Routes are operation names (a closed set), never paths: a client cannot make new series.
class request_metrics {
 public:
  void count(std::string_view route, int status, std::chrono::steady_clock::duration took);
  void write(std::string& out) const;

 private:
  static constexpr std::array<double, 12> bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30};
  struct histogram {
    std::array<std::uint64_t, bounds.size() + 1> buckets{};
    std::uint64_t count = 0;
    double sum = 0;
  };
  mutable std::mutex lock_;
  std::map<std::pair<std::string, int>, std::uint64_t, std::less<>> requests_;
  std::map<std::string, histogram, std::less<>> durations_;
};

// "# HELP" and "# TYPE" of a family.
void write_family(std::string& out, std::string_view name, std::string_view type, std::string_view help);
// One sample; the label value is escaped. No label when `label` is empty.
void write_sample(std::string& out, std::string_view name, std::string_view label, std::string_view value,
                  double number);
// Memory, processor time, descriptors and threads of this process, from /proc/self.
void write_process(std::string& out);
// How many sandboxes there are in each state, from the answer of sandbox.list.
void write_sandboxes(std::string& out, const json& list);

}  // namespace caged::rest
