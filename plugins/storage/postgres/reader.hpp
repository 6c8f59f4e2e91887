// Reads records and events through a connection of its own.
#pragma once

#include <caged/storage.hpp>

#include "connection.hpp"

namespace caged::storage_postgres {

// One thread at a time. Methods throw what pqxx and JSON throw.
class reader {
 public:
  explicit reader(std::unique_ptr<pqxx::connection> c) : connection_(std::move(c)) {}

  std::optional<record> get(const std::string& kind, const std::string& id);
  std::vector<record> list(const std::string& kind, const std::string& after_id, std::size_t limit);
  std::vector<event> events(const event_query& q);
  std::uint64_t count_events(const event_query& q);
  std::uint64_t last_event_id();
  chain_head head(const std::string& session_id);

 private:
  std::unique_ptr<pqxx::connection> connection_;
};

}  // namespace caged::storage_postgres
