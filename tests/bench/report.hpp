// Collects measurements beside those of a peer and prints them as a table and as JSON.
#pragma once

#include <caged/json.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace caged::bench {

// Samples of one thing in one unit ("µs", "MiB/s", "MiB").
struct series {
  std::string unit;
  std::vector<double> values;
  // 0 < p <= 100, nearest rank; 0 when there are no samples.
  double percentile(double p) const;
};

// One line of the report. `ratio` compares medians and is always ours/peer.
struct comparison {
  std::string name;      // "create"
  std::string what;      // in words, ours
  series ours;
  std::string peer_name; // "" = measured without a peer
  series peer;
  std::optional<double> ratio_at_most;   // the promise of docs/specification.md
  std::optional<double> ratio_at_least;
  std::optional<double> value_at_most;   // of our median
};

// Whether the promise holds; nullopt when nothing is promised.
std::optional<bool> kept(const comparison& c);

// Prints to stdout; writes JSON to `json_file` unless it is empty. Answers false when the file cannot be written.
bool print(const std::vector<comparison>& lines, const std::string& json_file);

// Microseconds that `action` takes.
double time_us(const std::function<void()>& action);

// `rounds` times: `samples` of ours, then `samples` of the peer, so that both see the same weather. The first two of
// each are thrown away.
void alternate(int rounds, int samples, series& ours, const std::function<double()>& one, series& peer,
               const std::function<double()>& other);

}  // namespace caged::bench
