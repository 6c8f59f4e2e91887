// The database file: who may open it, whether it is sound, and its schema.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <memory>

#include "settings.hpp"

namespace caged::storage_sqlite {

// Holds the right to write one database, against other processes. Released with the object.
class file_lock {
 public:
  // conflict (reason "storage_locked") naming the process that holds it.
  static result<file_lock> take(const std::filesystem::path& database);
  file_lock(file_lock&& other) noexcept;
  file_lock& operator=(file_lock&& other) noexcept;
  ~file_lock();

 private:
  explicit file_lock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// Opens for writing: makes the file (mode 0600) when there is none, refuses one that is damaged, foreign, read-only or
// newer than this program, and brings an older schema up to date. Blocks; the lock must be held.
result<std::unique_ptr<SQLite::Database>> open_writer(const settings& s);

// A connection that cannot change anything. After open_writer().
result<std::unique_ptr<SQLite::Database>> open_reader(const settings& s);

}  // namespace caged::storage_sqlite
