// The tables, as a list of migrations that only grows.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <caged/result.hpp>
#include <filesystem>

namespace caged::storage_sqlite {

inline constexpr int application_id = 0x43474544;  // "CGED" in the file's header: this database is ours

// The newest schema this program knows.
int newest_schema();

// Applies what is missing, each migration in a transaction of its own. Refuses a database from a newer program
// (unsupported, reason "storage_too_new"). Throws SQLite::Exception.
result<void> migrate(SQLite::Database& db, const std::filesystem::path& file);

}  // namespace caged::storage_sqlite
