// The storage kind on PostgreSQL: one connection that writes and owns the schema, a few that read.
#pragma once

#include <caged/storage_support.hpp>

#include "reader.hpp"

namespace caged::storage_postgres {

// Methods may be awaited on any executor; nothing of it runs on the caller's thread but queueing. A commit survives
// the death of this process and, as far as PostgreSQL is configured so (synchronous_commit), of its machine.
class postgres_storage : public storage {
 public:
  explicit postgres_storage(settings s);

  task<void> open() override;
  task<void> close() override;

  task<void> commit(batch b) override;
  task<std::optional<record>> get(std::string kind, std::string id) override;
  task<std::vector<record>> list(std::string kind, std::string after_id, std::size_t limit) override;
  task<std::vector<event>> events(event_query q) override;
  task<std::uint64_t> count_events(event_query q) override;
  task<std::uint64_t> last_event_id() override;
  task<chain_head> head(std::string session_id) override;

 private:
  commit_queue commits_;
  reader_pool<reader> readers_;
};

}  // namespace caged::storage_postgres
