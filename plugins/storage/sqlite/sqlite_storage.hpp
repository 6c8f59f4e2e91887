// The storage kind on SQLite: one writing thread, a few reading ones, one file.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <caged/storage.hpp>

#include "reader.hpp"
#include "writer.hpp"

namespace caged::storage_sqlite {

// Methods may be awaited on any executor; nothing of it runs on the caller's thread but queueing.
class sqlite_storage : public storage {
 public:
  explicit sqlite_storage(settings s);
  ~sqlite_storage() override;

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
  template <class T>
  task<T> read(std::function<T(reader&)> work);
  // A free connection, opened when there is none; the pool has as many threads as there may be connections.
  result<std::unique_ptr<reader>> borrow();
  void give_back(std::unique_ptr<reader> r);

  const settings settings_;
  writer writer_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<reader>> idle_;
  enum class phase : std::uint8_t { closed = 1, open } phase_ = phase::closed;
  asio::thread_pool pool_;
};

}  // namespace caged::storage_sqlite
