// Kind "billing": takes note of what is to be paid for. None, one or several are loaded.
#pragma once

#include <caged/plugin.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace caged {

// What one session used of one thing on one day, in all. The totals of a line only grow, so a line can be handed over
// any number of times, after any crash, and in any order: what is new is the difference to what is known already.
struct usage_line {
  std::string id;          // the same for ever: day|sandbox|session|provider|item
  std::string account;     // "local"
  std::string day;         // "2026-01-31", UTC
  std::string sandbox_id, session_id;
  std::string item;        // "compute", "egress", "model"
  std::string model;       // "provider/model" of item "model", else ""
  std::int64_t quantity = 0;      // compute: microseconds; egress: bytes; model: tokens
  std::int64_t amount_micro = 0;  // micro-dollars
};

class billing_provider : public plugin {
 public:
  static constexpr std::string_view interface_name = "caged.billing.v1";

  // Durable when it succeeds. After a failure the same lines, or later totals of them, are handed over again. Never
  // called twice at a time.
  virtual task<void> report(std::vector<usage_line> lines) = 0;
};

// Extension of a provider that can say what was billed.
class billing_statements {
 public:
  static constexpr std::string_view interface_name = "caged.billing_statements.v1";
  virtual ~billing_statements() = default;

  // {account, from, to, currency, total, days, sandboxes, sessions, models, items: rows with quantity and amount,
  // transactions, balanced}. Days are inclusive.
  virtual task<json> statement(std::string from_day, std::string to_day) = 0;
};

// Extension of a provider whose customers subscribe to plans.
class billing_subscriptions {
 public:
  static constexpr std::string_view interface_name = "caged.billing_subscriptions.v1";
  virtual ~billing_subscriptions() = default;

  // {tier, status, customer_id, current_period_end, cancel_at_period_end, trial_ends_at}
  virtual task<json> subscription() = 0;
  virtual task<std::string> checkout(std::string plan_id) = 0;  // the page to go to
  virtual task<std::string> portal() = 0;
  virtual task<void> cancel() = 0;  // ends with the period
};

}  // namespace caged
