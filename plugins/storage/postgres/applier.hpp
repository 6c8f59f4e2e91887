// Writes one batch into an open transaction. Used by the commit queue's thread only.
#pragma once

#include <caged/storage_support.hpp>
#include <map>
#include <unordered_map>

#include "connection.hpp"

namespace caged::storage_postgres {

class applier {
 public:
  // Prepares its statements.
  explicit applier(pqxx::connection& c);

  // An expected refusal (conflict) is returned; the caller then rolls back to before the batch and calls forget().
  // Trouble with the database or with JSON text is thrown.
  result<void> apply(pqxx::transaction_base& t, const batch& b);

  // What was learned from rows that are rolled back is not true any more.
  void forget();

 private:
  result<void> put(pqxx::transaction_base& t, const write& w);
  result<void> erase(pqxx::transaction_base& t, const write& w);
  result<void> cut(pqxx::transaction_base& t, const write& w);
  result<void> append(pqxx::transaction_base& t, const event& e);
  void add_counts(pqxx::transaction_base& t);
  std::optional<std::uint64_t> version_of(pqxx::transaction_base& t, const write& w);

  std::unordered_map<std::string, std::uint64_t> sequences_;
  std::optional<std::uint64_t> last_id_;
  std::map<std::pair<std::string, std::string>, std::int64_t> counted_;  // of this batch, by session and type
};

}  // namespace caged::storage_postgres
