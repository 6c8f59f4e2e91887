// What policies answer, and how the answers of several are combined into one.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy {

// In order of severity: of several answers the most severe one wins; among equals the policy listed first.
enum class verdict_kind : std::uint8_t { unset = 0, allow, annotate, ask, deny, pause, kill };
std::string_view to_string(verdict_kind kind) noexcept;

// Points off the session's trust score. `rule` names what was seen, in snake_case.
struct deduction {
  double points = 0;  // above 0, at most 100
  std::string reason;
  std::string rule;
  std::string policy;
  std::string advice;
};

struct annotation {
  std::string policy;
  json value;
};

// A policy that did not answer: it raised an error, spent a budget, or answered what this kind of event does not take.
struct script_failure {
  std::string policy;
  std::string reason;   // "policy_error", "policy_budget", "policy_verdict", "policy_state"
  std::string message;  // printable
};

struct verdict {
  verdict_kind kind = verdict_kind::allow;
  std::string reason;  // for people; empty for a plain allow
  std::string rule;
  std::string policy;  // whose answer won; empty for a plain allow
  std::string advice;
  std::vector<deduction> deductions;    // of all policies, in order
  std::vector<annotation> annotations;  // of all policies, in order
  std::vector<script_failure> failures;

  bool allowed() const noexcept { return kind == verdict_kind::allow || kind == verdict_kind::annotate; }
  double points() const noexcept;
  // Adds another policy's answer by the rule above: kinds compete, everything else adds up.
  void combine(verdict other);
  // {kind, allowed, reason, rule, policy, advice, deductions, annotations, failures}; empty parts left out.
  json to_json() const;
};

// The event type ("policy_error") and data that a script failure is published as.
json failure_data(const script_failure& failure, std::string_view event_type, std::uint64_t event_id);

}  // namespace caged::policy
