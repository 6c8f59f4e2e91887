#include "database.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cstring>

#include "errors.hpp"
#include "schema.hpp"

namespace caged::storage_sqlite {
namespace {

namespace fs = std::filesystem;

fs::path beside(const fs::path& file, const char* suffix) { return file.string() + suffix; }

// The header is looked at before SQLite is, for a message that says what the file is.
result<void> check_header(const fs::path& file) {
  std::array<unsigned char, 100> head{};
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "open the database " + file.string(), "Give the server's user access to it.");
  const ssize_t n = ::read(fd, head.data(), head.size());
  const int err = errno;
  ::close(fd);
  if (n < 0) return errno_error(err, "read the database " + file.string(), "Check the disk (dmesg).");
  if (n < static_cast<ssize_t>(head.size()))
    return damaged(file, "it is cut short (" + std::to_string(n) + " bytes, a database has at least 100)");
  if (std::memcmp(head.data(), "SQLite format 3", 16) != 0) return damaged(file, "it is not an SQLite database");
  const unsigned id = static_cast<unsigned>(head[68]) << 24 | static_cast<unsigned>(head[69]) << 16 |
                      static_cast<unsigned>(head[70]) << 8 | head[71];
  if (id != static_cast<unsigned>(application_id)) return damaged(file, "it is a database of another program");
  return {};
}

// A new database is made under another name and moved into place when it is whole, so that an empty or half-made
// caged.db is always damage and never mistaken for a first start.
result<void> create(const settings& s) {
  const fs::path fresh = beside(s.file, ".new");
  std::error_code ignored;
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) fs::remove(beside(fresh, suffix), ignored);
  const int fd = ::open(fresh.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return errno_error(errno, "create the database " + fresh.string(),
                       "Give the server's user write access to the folder.");
  ::close(fd);
  try {
    SQLite::Database db(fresh.string(), SQLite::OPEN_READWRITE, static_cast<int>(s.busy_timeout.count()));
    db.exec("PRAGMA synchronous=FULL");
    db.exec("PRAGMA application_id=" + std::to_string(application_id));
    if (auto r = migrate(db, fresh); !r) return r;
  } catch (...) {
    const error e = current_exception_error(s.file, nullptr);
    fs::remove(fresh, ignored);
    return e;
  }
  if (::rename(fresh.c_str(), s.file.c_str()) != 0)
    return errno_error(errno, "move the new database to " + s.file.string());
  const int dir = ::open(s.file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    ::fsync(dir);
    ::close(dir);
  }
  return {};
}

struct check_deadline {
  std::chrono::steady_clock::time_point at;
  static int passed(void* self) {
    return std::chrono::steady_clock::now() > static_cast<check_deadline*>(self)->at ? 1 : 0;
  }
};

// A check that runs out of time has found nothing wrong so far: a large database must not take minutes to start.
result<void> check_structure(SQLite::Database& db, const settings& s) {
  if (s.check_budget.count() == 0) return {};
  check_deadline deadline{std::chrono::steady_clock::now() + s.check_budget};
  sqlite3_progress_handler(db.getHandle(), 20000, &check_deadline::passed, &deadline);
  std::string found;
  try {
    SQLite::Statement check(db, "PRAGMA quick_check(3)");
    while (check.executeStep()) {
      const std::string line = check.getColumn(0).getString();
      if (line != "ok") found += (found.empty() ? "" : "; ") + line;
    }
  } catch (const SQLite::Exception& e) {
    if ((e.getErrorCode() & 0xff) != SQLITE_INTERRUPT) {
      sqlite3_progress_handler(db.getHandle(), 0, nullptr, nullptr);
      throw;
    }
  }
  sqlite3_progress_handler(db.getHandle(), 0, nullptr, nullptr);
  if (!found.empty()) return damaged(s.file, found);
  return {};
}

// Damage must not be able to run code or to be skipped silently.
void harden(SQLite::Database& db) {
  db.exec("PRAGMA trusted_schema=OFF");
  db.exec("PRAGMA cell_size_check=ON");
  sqlite3_db_config(db.getHandle(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
}

result<std::unique_ptr<SQLite::Database>> open_checked(const settings& s) {
  auto db = std::make_unique<SQLite::Database>(s.file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX,
                                               static_cast<int>(s.busy_timeout.count()));
  if (sqlite3_db_readonly(db->getHandle(), "main") != 0)
    return fail(errc::permission_denied, "storage_read_only", "the database " + s.file.string() + " is read-only",
                "Give the server's user write access to the file and its folder, or choose another data folder.");
  harden(*db);
  if (auto r = check_structure(*db, s); !r) return r.error();
  const std::string mode = db->execAndGet("PRAGMA journal_mode=WAL").getString();
  if (mode != "wal")
    return fail(
        errc::unsupported, "storage_without_wal",
        "the file system of " + s.file.string() + " cannot hold a write-ahead log (journal mode is " + mode + ")",
        "Put the data folder on a local file system.");
  db->exec(s.synchronous == durability::full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
  db->exec("PRAGMA wal_autocheckpoint=4000");
  db->exec("PRAGMA journal_size_limit=67108864");
  db->exec("PRAGMA cache_size=-16000");
  db->exec("PRAGMA temp_store=MEMORY");
  if (auto r = migrate(*db, s.file); !r) return r.error();
  return db;
}

}  // namespace

result<file_lock> file_lock::take(const fs::path& database) {
  const fs::path path = beside(database, ".lock");
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return errno_error(errno, "open the lock file " + path.string(),
                       "Check that the folder exists and that the server's user may write it.");
  file_lock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error(errno, "lock " + path.string());
    std::array<char, 32> text{};
    const ssize_t n = ::pread(fd, text.data(), text.size() - 1, 0);
    const std::string owner(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    return fail(errc::conflict, "storage_locked",
                "the database " + database.string() + " is in use by process " + (owner.empty() ? "?" : owner),
                "Stop that process, or give this server a data folder of its own.");
  }
  const std::string pid = std::to_string(::getpid());
  // Only for the message above; the lock itself is flock's.
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) { /* a full disk does not matter here */
  }
  return lock;
}

file_lock::file_lock(file_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
file_lock& file_lock::operator=(file_lock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
file_lock::~file_lock() {
  if (fd_ >= 0) ::close(fd_);
}

result<std::unique_ptr<SQLite::Database>> open_writer(const settings& s) {
  struct stat info {};
  const bool exists = ::lstat(s.file.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) return damaged(s.file, "it is not a regular file");
  if (exists) {
    if (auto r = check_header(s.file); !r) return r.error();
  } else if (::lstat(beside(s.file, "-wal").c_str(), &info) == 0 && info.st_size > 0) {
    return damaged(s.file, "it is missing, but its write-ahead log (-wal) is there");
  } else if (auto r = create(s); !r) {
    return r.error();
  }
  try {
    return open_checked(s);
  } catch (...) {
    return current_exception_error(s.file, nullptr);
  }
}

result<std::unique_ptr<SQLite::Database>> open_reader(const settings& s) {
  try {
    // Not OPEN_READONLY: a reader of a write-ahead log takes part in its shared-memory file.
    auto db = std::make_unique<SQLite::Database>(s.file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX,
                                                 static_cast<int>(s.busy_timeout.count()));
    harden(*db);
    db->exec("PRAGMA query_only=ON");
    db->exec("PRAGMA temp_store=MEMORY");
    return db;
  } catch (...) {
    return current_exception_error(s.file, nullptr);
  }
}

}  // namespace caged::storage_sqlite
