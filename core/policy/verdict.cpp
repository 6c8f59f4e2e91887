#include <core/policy/verdict.hpp>

#include <iterator>

namespace caged::policy {

std::string_view to_string(verdict_kind kind) noexcept {
  switch (kind) {
    case verdict_kind::allow:
      return "allow";
    case verdict_kind::annotate:
      return "annotate";
    case verdict_kind::ask:
      return "ask";
    case verdict_kind::deny:
      return "deny";
    case verdict_kind::pause:
      return "pause";
    case verdict_kind::kill:
      return "kill";
    default:
      return "unset";
  }
}

double verdict::points() const noexcept {
  double sum = 0;
  for (const auto& d : deductions) sum += d.points;
  return sum;
}

void verdict::combine(verdict other) {
  if (other.kind > kind) {
    kind = other.kind;
    reason = std::move(other.reason);
    rule = std::move(other.rule);
    policy = std::move(other.policy);
    advice = std::move(other.advice);
  }
  std::move(other.deductions.begin(), other.deductions.end(), std::back_inserter(deductions));
  std::move(other.annotations.begin(), other.annotations.end(), std::back_inserter(annotations));
  std::move(other.failures.begin(), other.failures.end(), std::back_inserter(failures));
}

json verdict::to_json() const {
  json out = {{"kind", std::string(to_string(kind))}, {"allowed", allowed()}};
  const auto put = [&out](const char* key, const std::string& value) {
    if (!value.empty()) out[key] = value;
  };
  put("reason", reason);
  put("rule", rule);
  put("policy", policy);
  put("advice", advice);
  for (const auto& d : deductions) {
    json item = {{"points", d.points}, {"reason", d.reason}, {"rule", d.rule}, {"policy", d.policy}};
    if (!d.advice.empty()) item["advice"] = d.advice;
    out["deductions"].push_back(std::move(item));
  }
  for (const auto& a : annotations) out["annotations"].push_back({{"policy", a.policy}, {"value", a.value}});
  for (const auto& f : failures) {
    out["failures"].push_back({{"policy", f.policy}, {"reason", f.reason}, {"message", f.message}});
  }
  return out;
}

json failure_data(const script_failure& failure, std::string_view event_type, std::uint64_t event_id) {
  return {{"policy", failure.policy},
          {"reason", failure.reason},
          {"message", failure.message},
          {"event_type", std::string(event_type)},
          {"event_id", event_id}};
}

}  // namespace caged::policy
