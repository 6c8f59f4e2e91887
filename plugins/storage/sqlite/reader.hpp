// Reads records and events through a connection of its own.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <caged/storage.hpp>
#include <unordered_map>

#include "settings.hpp"

namespace caged::storage_sqlite {

// One thread at a time. Methods throw what SQLite and JSON throw.
class reader {
 public:
  explicit reader(std::unique_ptr<SQLite::Database> db);

  std::optional<record> get(const std::string& kind, const std::string& id);
  std::vector<record> list(const std::string& kind, const std::string& after_id, std::size_t limit);
  std::vector<event> events(const event_query& q);
  std::uint64_t count_events(const event_query& q);
  std::uint64_t last_event_id();
  chain_head head(const std::string& session_id);

  sqlite3* handle() const noexcept { return db_->getHandle(); }

 private:
  struct plan;
  std::optional<std::uint64_t> kept_count(const event_query& q);
  std::optional<plan> plan_of(const event_query& q);
  std::uint64_t sequence_before(std::int64_t session, std::uint64_t event_id);
  SQLite::Statement& prepared(const std::string& sql);
  std::optional<std::int64_t> number_of(const std::string& name);
  const std::string& name_of(std::int64_t number);

  std::unique_ptr<SQLite::Database> db_;
  std::unordered_map<std::string, std::unique_ptr<SQLite::Statement>> statements_;
  std::unordered_map<std::int64_t, std::string> names_;  // rows of `names` never change once committed
};

}  // namespace caged::storage_sqlite
