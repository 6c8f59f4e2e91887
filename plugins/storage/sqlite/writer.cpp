#include "writer.hpp"

#include <sqlite3.h>

#include "applier.hpp"
#include "database.hpp"
#include "errors.hpp"

namespace caged::storage_sqlite {
namespace {

constexpr std::size_t group_batches = 1024;   // how many commits share one transaction at most
constexpr std::size_t group_items = 20000;    // and how many writes and events they hold together
constexpr std::size_t queue_limit = 100000;   // commits that may wait; each belongs to a suspended caller
constexpr std::size_t retries_alone = 8;      // failures in a row after which a failed group is given up

error closed() {
  return fail(errc::unavailable, "storage_closed", "the storage is not open",
              "Start the server, or wait until it has started.");
}

}  // namespace

// An open database; lives on the writer's thread.
class writer::session {
 public:
  session(const settings& s, std::unique_ptr<SQLite::Database> db)
      : file_(s.file),
        db_(std::move(db)),
        applier_(*db_),
        begin_(*db_, "BEGIN IMMEDIATE"),
        commit_(*db_, "COMMIT"),
        save_(*db_, "SAVEPOINT batch"),
        release_(*db_, "RELEASE batch"),
        undo_(*db_, "ROLLBACK TO batch") {}

  void commit(std::vector<pending>& group) {
    std::vector<result<void>> outcome(group.size());
    const auto failure = attempt(group, 0, group.size(), outcome);
    if (failure && group.size() > 1) {
      one_by_one(group, outcome);
    } else if (failure) {
      outcome.front() = *failure;
    }
    for (std::size_t i = 0; i < group.size(); ++i) group[i].done(std::move(outcome[i]));
  }

  void close() {
    try {
      db_->exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (const SQLite::Exception&) {
      // The log stays and is read at the next start.
    }
  }

 private:
  static void step(SQLite::Statement& s) {
    s.tryReset();
    s.exec();
    s.tryReset();
  }

  // One batch that cannot be written (too large for the disk that is left) must not fail its neighbours.
  void one_by_one(std::vector<pending>& group, std::vector<result<void>>& outcome) {
    std::optional<error> last;
    std::size_t failed = 0;
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (failed < retries_alone) {
        last = attempt(group, i, i + 1, outcome);
        failed = last ? failed + 1 : 0;
      }
      if (last) outcome[i] = *last;
    }
  }

  // A transaction over group[first, last). The error means that none of it is stored.
  std::optional<error> attempt(std::vector<pending>& group, std::size_t first, std::size_t last,
                               std::vector<result<void>>& outcome) {
    try {
      step(begin_);
      for (std::size_t i = first; i < last; ++i) {
        step(save_);
        outcome[i] = guarded(group[i].work);
        if (!outcome[i]) {
          step(undo_);
          applier_.forget();
        }
        step(release_);
      }
      step(commit_);
      return std::nullopt;
    } catch (...) {
      const error e = current_exception_error(file_, db_->getHandle());
      for (auto* s : {&begin_, &commit_, &save_, &release_, &undo_}) s->tryReset();
      if (sqlite3_get_autocommit(db_->getHandle()) == 0) db_->tryExec("ROLLBACK");
      applier_.forget();
      return e;
    }
  }

  // A batch that is wrong in itself fails alone; what concerns the database is thrown on.
  result<void> guarded(const batch& b) {
    try {
      return applier_.apply(b);
    } catch (const json::exception&) {
      return current_exception_error(file_, nullptr);
    } catch (const SQLite::Exception& e) {
      const int code = e.getErrorCode() & 0xff;
      if (code == SQLITE_TOOBIG || code == SQLITE_CONSTRAINT) return to_error(e, file_, nullptr);
      throw;
    }
  }

  const std::filesystem::path file_;
  std::unique_ptr<SQLite::Database> db_;
  applier applier_;
  SQLite::Statement begin_, commit_, save_, release_, undo_;
};

writer::writer(settings s) : settings_(std::move(s)) {}

writer::~writer() {
  stop([](result<void>) {});
  if (thread_.joinable()) thread_.join();
}

void writer::start(callback<void> done) {
  std::lock_guard lock(mutex_);
  if (phase_ != phase::idle) return done(closed());
  phase_ = phase::running;
  thread_ = std::thread(&writer::run, this, std::move(done));
}

void writer::submit(batch b, callback<void> done) {
  if (auto r = check_batch(b); !r) return done(std::move(r));
  std::unique_lock lock(mutex_);
  if (phase_ != phase::running) {
    lock.unlock();
    return done(closed());
  }
  if (queue_.size() >= queue_limit) {
    lock.unlock();
    return done(fail(errc::unavailable, "storage_overloaded",
                     std::to_string(queue_limit) + " commits wait for the disk", "Try again in a moment."));
  }
  queue_.push_back({std::move(b), std::move(done)});
  if (queue_.size() == 1) wake_.notify_one();
}

void writer::stop(callback<void> done) {
  std::unique_lock lock(mutex_);
  if (phase_ == phase::idle || phase_ == phase::ended) {
    phase_ = phase::ended;
    lock.unlock();
    return done({});
  }
  phase_ = phase::stopping;
  stopped_.push_back(std::move(done));
  wake_.notify_one();
}

std::vector<writer::pending> writer::take() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return !queue_.empty() || phase_ == phase::stopping; });
  std::vector<pending> group;
  std::size_t items = 0;
  while (!queue_.empty() && group.size() < group_batches && items < group_items) {
    items += queue_.front().work.events.size() + queue_.front().work.writes.size();
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return group;
}

void writer::run(callback<void> opened) {
  {
    auto lock = file_lock::take(settings_.file);
    auto db = lock ? open_writer(settings_) : result<std::unique_ptr<SQLite::Database>>(lock.error());
    std::optional<session> work;
    result<void> answer;
    if (!db) {
      answer = db.error();
    } else {
      try {
        work.emplace(settings_, std::move(*db));
      } catch (...) {
        answer = current_exception_error(settings_.file, nullptr);
      }
    }
    if (!work) lock = closed();  // whoever comes next may try
    opened(answer);
    while (true) {
      auto group = take();
      if (group.empty()) break;
      if (work)
        work->commit(group);
      else
        for (auto& p : group) p.done(answer);
    }
    if (work) work->close();
  }
  std::vector<callback<void>> waiting;
  {
    std::lock_guard lock(mutex_);
    phase_ = phase::ended;
    waiting.swap(stopped_);
  }
  for (auto& done : waiting) done({});
}

}  // namespace caged::storage_sqlite
