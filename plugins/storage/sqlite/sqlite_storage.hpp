// The storage kind on SQLite: one writing thread, a few reading ones, one file.
#pragma once

#include <caged/storage_support.hpp>

#include "reader.hpp"

namespace caged::storage_sqlite {

// Methods may be awaited on any executor; nothing of it runs on the caller's thread but queueing.
class sqlite_storage : public storage {
 public:
  explicit sqlite_storage(settings s);

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
  const settings settings_;
  commit_queue commits_;
  reader_pool<reader> readers_;
};

}  // namespace caged::storage_sqlite
