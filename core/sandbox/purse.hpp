// The purses of sandboxes: tokens, reservations and settlements, joined with what computing costs.
#pragma once

#include <caged/spending.hpp>
#include <filesystem>

#include "core/meter/ledger.hpp"
#include "core/meter/usage.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {

// Made before the plugins, which may hold it; answers `unavailable` until connected. On the loop thread.
class purse_keeper : public spending {
 public:
  struct parts {
    manager* sandboxes = nullptr;
    journal::journal* journal = nullptr;
    storage* records = nullptr;
    std::function<task<void>(event question)> permit;  // the policies' answer to an "llm_request"; may be empty
    std::function<void(log_level, std::string)> log;
  };
  // Reads or makes the key that tokens are made with (mode 0600). Blocks; before anything else.
  result<void> open(const std::filesystem::path& key_file);
  // Before the manager reads its records: the rows of the past, and the budgets; `configured` where none were set since.
  task<void> load(storage& records, caps configured);
  // After it: settles what a dead host left open.
  task<void> connect(parts p);
  meter::usage_book& book() noexcept { return book_; }
  const caps& budgets() const noexcept { return budgets_; }
  // Durable when it returns; manager::settle_budgets() puts it into effect.
  task<void> set_budgets(caps wanted);

  // "caged_box_<id>_<64 hex digits>", the same at every call and start.
  std::string token_of(std::string_view sandbox_id) const;
  // What plugins offered, for this sandbox's environment.
  void add_environment(std::string_view sandbox_id, std::map<std::string, std::string>& env) const;
  const meter::usage_book& usage() const noexcept { return book_; }
  std::int64_t reserved_micro(std::string_view sandbox_id) const;

  result<spender> resolve(std::string_view token) override;
  void offer_environment(std::vector<std::map<std::string, std::string>> groups) override;
  task<reservation> reserve(spender who, reserve_request wanted) override;
  task<void> durable(reservation r) override;
  void settle(const reservation& r, std::int64_t cost_micro, json fact, std::chrono::microseconds took) override;

 private:
  // A reservation on its way to the disk.
  struct storing {
    explicit storing(asio::any_io_executor on) : done(on, asio::steady_timer::time_point::max()) {}
    asio::steady_timer done;  // cancelled when `outcome` is there: a condition variable
    std::optional<result<void>> outcome;
  };
  asio::awaitable<void> store_reservation(std::shared_ptr<storing> s, std::vector<write> writes);
  std::vector<meter::purse> purses_of(const live& l) const;
  task<void> settle_leftovers();
  task<void> permit(std::shared_ptr<live> l, json about, std::int64_t amount);
  task<void> store_settlement(std::shared_ptr<live> l, std::uint64_t id, json fact, std::chrono::microseconds took);

  parts parts_;
  caps budgets_;
  std::string key_;
  std::vector<std::map<std::string, std::string>> offered_;
  meter::ledger ledger_;
  meter::usage_book book_;
  std::map<std::uint64_t, std::shared_ptr<storing>> storing_;
  std::map<std::uint64_t, std::string> stored_as_;  // reservation → id of its record
  std::shared_ptr<asio::steady_timer> settled_;     // cancelled at each settlement: a condition variable
};

}  // namespace caged::sandbox
