// Double entry: what is used is owed by the account (debit) and earned by an item (credit), both or neither.
#pragma once

#include <caged/billing.hpp>
#include <caged/storage.hpp>
#include <map>

namespace caged::billing::ledger {

// Records in the host's storage:
//   ledger_line     a usage line as far as it is posted
//   ledger_entry    what was posted of a line within one hour: its debit and its credit
//   ledger_balance  the sums of an account's debits and credits
// Line, entry and balances change in one commit, each held to the version that was read: whatever dies in between, and
// however often a line is handed over, each micro-dollar is posted once.
class double_entry : public billing_provider, public billing_statements {
 public:
  double_entry(host& h, const json& config);

  task<void> open() override;
  task<void> report(std::vector<usage_line> lines) override;
  task<json> statement(std::string from_day, std::string to_day) override;
  void* find_extension(std::string_view name) noexcept override;

 private:
  struct balance {
    std::int64_t debit = 0, credit = 0;
    std::uint64_t version = 0;
  };
  task<void> load_balances();
  // Adds what posts the line to the batch; nothing when it is posted already.
  task<void> post(const usage_line line, batch& into, std::map<std::string, balance>& balances);

  host& host_;
  storage* records_ = nullptr;
  std::map<std::string, balance> balances_;
};

}  // namespace caged::billing::ledger
