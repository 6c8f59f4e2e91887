#include <core/policy/trust_score.hpp>

#include <algorithm>
#include <cmath>

namespace caged::policy {
namespace {

constexpr trust_band bands[] = {
    {90, "excellent", "ordinary development"},
    {70, "good", "have a look at the deductions"},
    {50, "caution", "an alert was raised; review the session"},
    {30, "warning", "an alert was raised; consider pausing the sandbox"},
    {0, "critical", "the sandbox is paused until somebody decides"},
};

}  // namespace

const trust_band& band_of(int score) noexcept {
  for (const auto& band : bands) {
    if (score >= band.at_least) return band;
  }
  return bands[4];
}

bool trust_score::apply(const verdict& v, const event& e) {
  for (const auto& d : v.deductions) {
    lost_ += d.points;
    if (entries_.size() == max_entries) {
      entries_.erase(entries_.begin());
      ++dropped_;
    }
    entries_.push_back({d, e.id, e.sequence, e.type, e.time_us, std::max(0.0, 100.0 - lost_)});
  }
  return !v.deductions.empty();
}

int trust_score::score() const noexcept { return static_cast<int>(std::floor(std::clamp(100.0 - lost_, 0.0, 100.0))); }

json trust_score::to_json() const {
  json list = json::array();
  for (const auto& e : entries_) {
    list.push_back({{"points", e.what.points},
                    {"rule", e.what.rule},
                    {"reason", e.what.reason},
                    {"advice", e.what.advice},
                    {"policy", e.what.policy},
                    {"event_id", e.event_id},
                    {"sequence", e.sequence},
                    {"event_type", e.event_type},
                    {"time_us", e.time_us},
                    {"score_after", e.score_after}});
  }
  return {{"score", score()},
          {"band", std::string(band().name)},
          {"advice", std::string(band().advice)},
          {"points_lost", lost_},
          {"dropped", dropped_},
          {"deductions", std::move(list)}};
}

result<trust_score> trust_score::from_json(const json& saved) {
  trust_score out;
  try {
    out.lost_ = saved.at("points_lost").get<double>();
    out.dropped_ = saved.at("dropped").get<std::uint64_t>();
    for (const auto& e : saved.at("deductions")) {
      out.entries_.push_back(
          {{e.at("points").get<double>(), e.at("reason").get<std::string>(), e.at("rule").get<std::string>(),
            e.at("policy").get<std::string>(), e.value("advice", "")},
           e.at("event_id").get<std::uint64_t>(),
           e.at("sequence").get<std::uint64_t>(),
           e.at("event_type").get<std::string>(),
           e.at("time_us").get<std::int64_t>(),
           e.at("score_after").get<double>()});
    }
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "invalid_trust", std::string("a saved trust score cannot be read: ") + e.what(),
                "replay the session: `caged policy replay` computes it anew");
  }
  if (!std::isfinite(out.lost_) || out.lost_ < 0 || out.entries_.size() > max_entries) {
    return fail(errc::invalid_argument, "invalid_trust", "a saved trust score is out of range",
                "replay the session: `caged policy replay` computes it anew");
  }
  return out;
}

int sandbox_score(const std::vector<int>& session_scores) noexcept {
  return session_scores.empty() ? 100 : *std::min_element(session_scores.begin(), session_scores.end());
}

}  // namespace caged::policy
