#include "core/meter/ledger.hpp"

#include <algorithm>

namespace caged::meter {
namespace {

std::string dollars(std::int64_t micro) {
  std::string cents = std::to_string(std::max<std::int64_t>(micro, 0) % 1'000'000);
  return "$" + std::to_string(std::max<std::int64_t>(micro, 0) / 1'000'000) + "." + std::string(6 - cents.size(), '0') +
         cents;
}

}  // namespace

result<held_reservation> ledger::reserve(const std::vector<purse>& from, std::int64_t amount) {
  if (amount < 0) return fail(errc::invalid_argument, "bad_amount", "an amount below zero cannot be set aside");
  const std::lock_guard guard(lock_);
  for (const auto& p : from) {
    if (p.cap <= 0) continue;
    const auto known = purses_.find(p.name);
    const balance now = known == purses_.end() ? balance{} : known->second;
    // Subtractions of non-negative amounts: nothing here can overflow.
    const std::int64_t left = p.cap - std::min(p.cap, p.other) - std::min(p.cap, now.spent);
    if (amount > left)
      return fail(errc::limit_exceeded, "budget_exhausted",
                  "the call may cost " + dollars(amount) + "; the budget of " + p.name + " is " + dollars(p.cap) +
                      ", of which " + dollars(left) + " is left",
                  "Raise the budget, or ask for fewer output tokens.");
    if (amount > left - std::min(left, now.reserved))
      return fail(errc::limit_exceeded, "budget_busy",
                  "the call may cost " + dollars(amount) + "; of the " + dollars(left) + " left of the budget of " +
                      p.name + ", " + dollars(now.reserved) + " is set aside for calls under way",
                  "Wait until they end, or raise the budget.");
  }
  open_reservation kept;
  kept.amount = amount;
  for (const auto& p : from) {
    purses_[p.name].reserved += amount;
    kept.purses.push_back(p.name);
  }
  const held_reservation made{next_++, amount};
  open_.emplace(made.id, std::move(kept));
  return made;
}

bool ledger::settle(std::uint64_t id, std::int64_t cost) {
  const std::lock_guard guard(lock_);
  const auto found = open_.find(id);
  if (found == open_.end()) return false;
  for (const auto& name : found->second.purses) {
    auto& p = purses_[name];
    p.reserved -= found->second.amount;
    p.spent += std::max<std::int64_t>(cost, 0);
  }
  open_.erase(found);
  return true;
}

std::int64_t ledger::room(const std::vector<purse>& from) const {
  const std::lock_guard guard(lock_);
  std::int64_t least = -1;
  for (const auto& p : from) {
    if (p.cap <= 0) continue;
    const auto known = purses_.find(p.name);
    const balance now = known == purses_.end() ? balance{} : known->second;
    const std::int64_t left = p.cap - std::min(p.cap, p.other) - std::min(p.cap, now.spent);
    const std::int64_t free = left - std::min(left, now.reserved);
    const std::int64_t bounded = std::max<std::int64_t>(free, 0);
    least = least < 0 ? bounded : std::min(least, bounded);
  }
  return least;
}

void ledger::restore(const std::string& name, std::int64_t spent) {
  const std::lock_guard guard(lock_);
  purses_[name].spent = spent;
}

balance ledger::of(const std::string& name) const {
  const std::lock_guard guard(lock_);
  const auto found = purses_.find(name);
  return found == purses_.end() ? balance{} : found->second;
}

void ledger::forget(const std::string& name) {
  const std::lock_guard guard(lock_);
  const auto found = purses_.find(name);
  if (found != purses_.end() && found->second.reserved == 0) purses_.erase(found);
}

std::size_t ledger::open() const {
  const std::lock_guard guard(lock_);
  return open_.size();
}

}  // namespace caged::meter
