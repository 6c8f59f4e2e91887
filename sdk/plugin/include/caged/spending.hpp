// Spending a sandbox's money: who a sandbox's token is, what may be spent, and the record of what was.
#pragma once

#include <caged/json.hpp>
#include <caged/task.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace caged {

// Who spends.
struct spender {
  std::string sandbox_id, session_id;
};

// Money set aside for one call.
struct reservation {
  std::uint64_t id = 0;
  spender who;
  std::int64_t amount_micro = 0;
};

// What a call wants to have set aside, in micro-dollars.
struct reserve_request {
  std::int64_t most_micro = 0;           // the worst case
  std::int64_t least_micro = 0;          // smallest amount that is of use; equal to most: all or nothing
  std::chrono::milliseconds patience{0}; // how long to wait for calls under way to be settled
  json about = json::object();           // model, provider: for policies and the record
};

// Service of the host. On the host's executor. A reservation survives the death of the host: one that was never settled
// is settled at its whole amount when the host starts again, because nobody can know that it cost less.
class spending {
 public:
  static constexpr std::string_view interface_name = "caged.spending.v1";
  virtual ~spending() = default;

  // The sandbox whose token this is. unauthenticated for any other text, conflict when the sandbox does not run.
  virtual result<spender> resolve(std::string_view token) = 0;

  // Variables for the environment of every sandbox made from now on; "{token}" in a value stands for its token. A group
  // of which the sandbox's own environment sets any variable is left out whole. Call it in open().
  virtual void offer_environment(std::vector<std::map<std::string, std::string>> groups) = 0;

  // Set aside when it returns, and on its way to the disk: await durable() before anything of an answer is passed on.
  // Errors: limit_exceeded ("budget_exhausted", "budget_busy"), permission_denied (policy).
  virtual task<reservation> reserve(spender who, reserve_request wanted) = 0;
  // Completes when the reservation survives the death of the host; fails when it could not be stored. Once.
  virtual task<void> durable(reservation r) = 0;

  // Ends the reservation with what the call cost and records `fact` as an event "llm_call" with `cost_micros` in it.
  // The balance is right when this returns; event and record are stored together soon after. A second call does
  // nothing.
  virtual void settle(const reservation& r, std::int64_t cost_micro, json fact, std::chrono::microseconds took) = 0;
};

}  // namespace caged
