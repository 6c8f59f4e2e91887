// What every storage plugin needs: refusing bad input in the same words, one thread that commits, a few that read.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <caged/await_callback.hpp>
#include <caged/storage.hpp>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace caged {

// What can be refused without looking at the database.
result<void> check_batch(const batch& b);
// invalid_argument unless the limit is 1 .. 10,000 and there are at most 64 types.
result<void> check_query(const event_query& q);
result<void> check_list_limit(std::size_t limit);

// Conflicts in the words of every storage.
error version_conflict(const write& w, std::optional<std::uint64_t> found);
error event_out_of_order(const event& e, std::uint64_t last_id, std::uint64_t last_sequence);
error storage_closed();

// A batch that waits for its commit. `done` is called exactly once, on the queue's thread.
struct pending_commit {
  batch work;
  callback<void> done;
};

// The database as the commit queue's thread sees it; all methods run there.
class commit_worker {
 public:
  virtual ~commit_worker() = default;
  // Once. After an error commit() and close() are not called.
  virtual result<void> open() = 0;
  // Answers every entry. Entries came in this order and may share a transaction; one that is wrong fails alone.
  virtual void commit(std::vector<pending_commit>& group) = 0;
  virtual void close() = 0;
};

// The one thread that changes a database: commits that wait at the same time come to the worker as one group.
class commit_queue {
 public:
  explicit commit_queue(std::unique_ptr<commit_worker> worker);
  // Stops as stop() does when that was forgotten.
  ~commit_queue();
  commit_queue(const commit_queue&) = delete;
  commit_queue& operator=(const commit_queue&) = delete;

  // Opens the database and begins to take batches; `done` runs on the queue's thread. Once only.
  void start(callback<void> done);
  // Thread-safe. Batches are applied in the order of the calls; `done` runs on the queue's thread after the commit.
  void submit(batch b, callback<void> done);
  // Takes nothing new, commits what waits, closes the database, then calls `done`. Idempotent.
  void stop(callback<void> done);

 private:
  void run(callback<void> opened);
  std::vector<pending_commit> take();

  std::unique_ptr<commit_worker> worker_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<pending_commit> queue_;
  std::vector<callback<void>> stopped_;
  enum class phase : std::uint8_t { idle = 1, running, stopping, ended } phase_ = phase::idle;
  std::thread thread_;
};

// Connections that read, each used by one thread at a time. `Reader` is made when there is no idle one.
template <class Reader>
class reader_pool {
 public:
  using maker = std::function<result<std::unique_ptr<Reader>>()>;
  // Turns the exception in flight into an error; says whether the reader is still of use.
  struct failure {
    error why;
    bool usable = true;
  };
  using explain = std::function<failure(Reader&)>;

  reader_pool(std::size_t threads, maker make, explain why)
      : make_(std::move(make)),
        explain_(std::move(why)),
        pool_(std::max<std::size_t>(1, std::min<std::size_t>(threads, 16))) {}
  ~reader_pool() { pool_.join(); }

  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
  }
  // Idle connections are closed at once, others when their work is done.
  void close() {
    std::lock_guard lock(mutex_);
    open_ = false;
    idle_.clear();
  }

  // Runs `work` on a thread of the pool. What it throws becomes an error.
  template <class T>
  task<T> read(std::function<T(Reader&)> work) {
    std::function<void(callback<T>)> start = [this, work = std::move(work)](callback<T> done) {
      asio::post(pool_, [this, work, done = std::move(done)]() {
        auto connection = borrow();
        if (!connection) return done(connection.error());
        result<T> answer = error{};
        bool usable = true;
        try {
          answer = work(**connection);
        } catch (...) {
          failure f = explain_(**connection);
          usable = f.usable;
          answer = std::move(f.why);
        }
        if (usable) give_back(std::move(*connection));
        done(std::move(answer));
      });
    };
    co_return co_await await_callback<T>(std::move(start));
  }

 private:
  result<std::unique_ptr<Reader>> borrow() {
    {
      std::lock_guard lock(mutex_);
      if (!open_) return storage_closed();
      if (!idle_.empty()) {
        auto r = std::move(idle_.back());
        idle_.pop_back();
        return r;
      }
    }
    return make_();
  }
  void give_back(std::unique_ptr<Reader> r) {
    std::lock_guard lock(mutex_);
    if (open_) idle_.push_back(std::move(r));
  }

  const maker make_;
  const explain explain_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Reader>> idle_;
  bool open_ = false;
  asio::thread_pool pool_;
};

// For commit() of a storage: hands the batch to the queue and waits.
task<void> commit_through(commit_queue& queue, batch b);

}  // namespace caged
