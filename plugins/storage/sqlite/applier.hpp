// Writes one batch into an open transaction. Used by the writer's thread only.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <caged/storage_support.hpp>
#include <map>
#include <unordered_map>

namespace caged::storage_sqlite {

class applier {
 public:
  explicit applier(SQLite::Database& db);

  // An expected refusal (conflict, invalid_argument) is returned; the caller then rolls back to before the batch and
  // calls forget(). Trouble with the database or with JSON text is thrown.
  result<void> apply(const batch& b);

  // What was learned from rows that are rolled back is not true any more.
  void forget();

 private:
  result<void> put(const write& w);
  result<void> erase(const write& w);
  result<void> cut(const write& w);
  result<void> append(const event& e);
  void add_counts();
  std::optional<std::uint64_t> version_of(const write& w);
  std::int64_t number_of(const std::string& name);
  std::uint64_t& sequence_of(std::int64_t session);

  SQLite::Database& db_;
  SQLite::Statement select_version_, upsert_, insert_, update_, delete_;
  SQLite::Statement find_name_, add_name_, last_sequence_, last_event_, add_event_;
  SQLite::Statement add_count_, count_cut_, cut_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> counted_;  // of this batch, by session and type
  std::unordered_map<std::string, std::int64_t> names_;
  std::unordered_map<std::int64_t, std::uint64_t> sequences_;
  std::optional<std::uint64_t> last_id_;
};

}  // namespace caged::storage_sqlite
