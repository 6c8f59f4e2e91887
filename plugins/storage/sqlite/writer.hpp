// The one thread that changes the database: commits that wait at the same time share a transaction.
#pragma once

#include <caged/await_callback.hpp>
#include <caged/storage.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "settings.hpp"

namespace caged::storage_sqlite {

class writer {
 public:
  explicit writer(settings s);
  // Stops as stop() does when that was forgotten.
  ~writer();
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  // Takes the lock, opens the database and begins to take batches; `done` runs on the writer's thread. Once only.
  void start(callback<void> done);

  // Thread-safe. Batches are applied in the order of the calls; `done` runs on the writer's thread after COMMIT.
  void submit(batch b, callback<void> done);

  // Takes nothing new, commits what waits, closes the database, then calls `done`. Idempotent.
  void stop(callback<void> done);

 private:
  struct pending {
    batch work;
    callback<void> done;
  };
  class session;

  void run(callback<void> opened);
  std::vector<pending> take();

  const settings settings_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<pending> queue_;
  std::vector<callback<void>> stopped_;
  enum class phase : std::uint8_t { idle = 1, running, stopping, ended } phase_ = phase::idle;
  std::thread thread_;
};

}  // namespace caged::storage_sqlite
