// What may still be spent: the worst case is set aside before a call and settled after it, so no cap is ever passed.
#pragma once

#include <caged/result.hpp>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace caged::meter {

// One purse a spender draws on, as the caller sees it now. All amounts are micro-dollars.
struct purse {
  std::string name;        // "sandbox:cage-…", "session:sess-…", "account:local"
  std::int64_t cap = 0;    // 0 = none
  std::int64_t other = 0;  // spent by other means than this ledger: computing
};

struct balance {
  std::int64_t spent = 0;     // settled
  std::int64_t reserved = 0;  // set aside by calls under way
};

struct held_reservation {
  std::uint64_t id = 0;
  std::int64_t amount = 0;
};

// Thread-safe. For every purse with a cap, at any time: other + spent + reserved <= cap right after a reservation, and
// a settlement never costs more than was set aside unless the caller's worst case was none.
class ledger {
 public:
  // Sets `amount` aside in all purses or in none. Errors, limit_exceeded: "budget_exhausted" when it would not fit even
  // if nothing else were under way, "budget_busy" when it may fit once other calls are settled.
  result<held_reservation> reserve(const std::vector<purse>& from, std::int64_t amount);
  // Ends a reservation with what it really cost (0 = nothing). An id that is not open is ignored: false.
  bool settle(std::uint64_t id, std::int64_t cost);
  // The largest amount reserve() would take now; nullopt-like -1 when no purse has a cap.
  std::int64_t room(const std::vector<purse>& from) const;

  // At start: what the journal says was spent before.
  void restore(const std::string& name, std::int64_t spent);
  balance of(const std::string& name) const;
  // Forgets a purse nobody draws on any more; open reservations keep it.
  void forget(const std::string& name);
  std::size_t open() const;

 private:
  struct open_reservation {
    std::vector<std::string> purses;
    std::int64_t amount = 0;
  };
  mutable std::mutex lock_;
  std::unordered_map<std::string, balance> purses_;
  std::unordered_map<std::uint64_t, open_reservation> open_;
  std::uint64_t next_ = 1;
};

}  // namespace caged::meter
