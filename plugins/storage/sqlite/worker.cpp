#include "worker.hpp"

#include <sqlite3.h>

#include "applier.hpp"
#include "database.hpp"
#include "errors.hpp"

namespace caged::storage_sqlite {
namespace {

constexpr std::size_t retries_alone = 8;  // failures in a row after which a failed group is given up

// An open database; lives on the queue's thread.
class session {
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

  void commit(std::vector<pending_commit>& group) {
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
  void one_by_one(std::vector<pending_commit>& group, std::vector<result<void>>& outcome) {
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
  std::optional<error> attempt(std::vector<pending_commit>& group, std::size_t first, std::size_t last,
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

class worker : public commit_worker {
 public:
  explicit worker(settings s) : settings_(std::move(s)) {}

  result<void> open() override {
    auto lock = file_lock::take(settings_.file);
    if (!lock) return lock.error();
    try {
      auto db = open_writer(settings_);
      if (!db) return db.error();
      session_.emplace(settings_, std::move(*db));
    } catch (...) {
      return current_exception_error(settings_.file, nullptr);
    }
    lock_.emplace(std::move(*lock));
    return {};
  }
  void commit(std::vector<pending_commit>& group) override { session_->commit(group); }
  void close() override { session_->close(); }

 private:
  const settings settings_;
  std::optional<file_lock> lock_;  // released after the database is closed
  std::optional<session> session_;
};

}  // namespace

std::unique_ptr<commit_worker> make_worker(settings s) { return std::make_unique<worker>(std::move(s)); }

}  // namespace caged::storage_sqlite
