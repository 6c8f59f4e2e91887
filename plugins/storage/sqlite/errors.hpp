// SQLite's failures as errors that say what to do.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <caged/result.hpp>
#include <filesystem>

namespace caged::storage_sqlite {

// `handle` may be null; it adds the operating system's errno where SQLite hides a full disk behind an I/O error.
error to_error(const SQLite::Exception& e, const std::filesystem::path& file, sqlite3* handle);

// The refusal of a file that is damaged or is not ours: `found` says what is wrong with it.
error damaged(const std::filesystem::path& file, std::string found);

// Whatever a connection threw: SQLite's own, JSON that does not parse, exhausted memory.
error current_exception_error(const std::filesystem::path& file, sqlite3* handle);

}  // namespace caged::storage_sqlite
