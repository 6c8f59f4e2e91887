// The trust score of one session: 100 minus every deduction, with each deduction kept and explained.
#pragma once

#include <caged/event.hpp>
#include <caged/result.hpp>
#include <core/policy/verdict.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy {

// The bands of the guide. `advice` says what the platform does there.
struct trust_band {
  int at_least = 0;
  std::string_view name;   // "excellent" "good" "caution" "warning" "critical"
  std::string_view advice;
};
const trust_band& band_of(int score) noexcept;

// Value type; not thread-safe.
class trust_score {
 public:
  struct entry {
    deduction what;
    std::uint64_t event_id = 0;
    std::uint64_t sequence = 0;
    std::string event_type;
    std::int64_t time_us = 0;
    double score_after = 0;
  };

  // Takes the deductions of a verdict about this event. Returns whether the score changed.
  bool apply(const verdict& v, const event& e);

  // 0 … 100, rounded down: a deduction always shows.
  int score() const noexcept;
  const trust_band& band() const noexcept { return band_of(score()); }
  // The newest `max_entries`; older ones are counted in dropped().
  const std::vector<entry>& entries() const noexcept { return entries_; }
  std::uint64_t dropped() const noexcept { return dropped_; }
  static constexpr std::size_t max_entries = 1000;

  // {score, band, advice, deductions:[{points, rule, reason, advice, policy, event_id, sequence, event_type, time_us,
  // score_after}], dropped}
  json to_json() const;
  // What to_json() wrote; for restarts.
  static result<trust_score> from_json(const json& saved);

 private:
  double lost_ = 0;
  std::uint64_t dropped_ = 0;
  std::vector<entry> entries_;
};

// A sandbox is as trustworthy as the least trusted of its sessions; 100 without any.
int sandbox_score(const std::vector<int>& session_scores) noexcept;

}  // namespace caged::policy
