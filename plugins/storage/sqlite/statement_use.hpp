// One use of a prepared statement.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

namespace caged::storage_sqlite {

// Ends the statement's use of its row and of bound memory, on every way out; an open row would hold a transaction open
// and keep the log from being checkpointed.
class use {
 public:
  explicit use(SQLite::Statement& s) : s_(s) {}
  ~use() {
    s_.tryReset();
    try {
      s_.clearBindings();
    } catch (const SQLite::Exception&) {  // says only that a bound value was bad, which the statement said already
    }
  }
  use(const use&) = delete;
  use& operator=(const use&) = delete;
  SQLite::Statement* operator->() { return &s_; }

 private:
  SQLite::Statement& s_;
};

}  // namespace caged::storage_sqlite
