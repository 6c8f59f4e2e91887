// A loop, a folder and a SQLite storage in it, for tests.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <caged/random.hpp>
#include <filesystem>
#include <thread>

#include "plugins/storage/sqlite/sqlite_storage.hpp"
#include "sdk/testing/storage_contract.hpp"

namespace caged::testing {

// Threads of the executor can be more than one: nothing may rely on there being one.
class loop {
 public:
  explicit loop(std::size_t threads = 1) : work_(asio::make_work_guard(context_)) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { context_.run(); });
  }
  ~loop() { finish(); }
  // Waits for the threads: what they work on may be destroyed afterwards. A second call does nothing.
  void finish() {
    work_.reset();
    for (auto& t : threads_) t.join();
    threads_.clear();
  }
  asio::any_io_executor executor() { return context_.get_executor(); }

  template <class T>
  result<T> run(task<T> work) {
    auto pending = asio::co_spawn(context_, std::move(work), asio::use_future);
    if (pending.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
      std::abort();  // a hang must not hang ctest
    return pending.get();
  }

 private:
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

// A folder that goes away with the object.
class folder {
 public:
  folder() : path_(std::filesystem::temp_directory_path() / random_id("caged-test-", 10)) {
    std::filesystem::create_directory(path_);
  }
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline storage_sqlite::settings settings_in(const std::filesystem::path& dir) {
  storage_sqlite::settings s;
  s.file = dir / "caged.db";
  return s;
}

// A storage that is opened and closed with the object; `opened` says how that went.
class opened_storage {
 public:
  opened_storage(loop& l, storage_sqlite::settings s)
      : loop_(l), store(std::make_unique<storage_sqlite::sqlite_storage>(std::move(s))) {
    opened = loop_.run(store->open());
  }
  ~opened_storage() {
    if (store) (void)loop_.run(store->close());
  }

 private:
  loop& loop_;

 public:
  std::unique_ptr<storage_sqlite::sqlite_storage> store;
  result<void> opened;
};

inline batch one_record(const std::string& id, json body) {
  batch b;
  auto& w = b.writes.emplace_back();
  w.kind = "k";
  w.id = id;
  w.body = std::move(body);
  return b;
}

}  // namespace caged::testing
