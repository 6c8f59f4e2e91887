#include "errors.hpp"

#include <sqlite3.h>
#include <sys/statvfs.h>
#include <caged/json.hpp>
#include <cerrno>

namespace caged::storage_sqlite {
namespace {

// SQLite answers "disk I/O error" for a full disk in some places (the shared-memory file, quotas).
bool disk_is_full(const std::filesystem::path& file, sqlite3* handle) {
  if (handle != nullptr) {
    const int err = sqlite3_system_errno(handle);
    if (err == ENOSPC || err == EDQUOT || err == EFBIG) return true;
  }
  struct statvfs fs {};
  return statvfs(file.parent_path().c_str(), &fs) == 0 && fs.f_bavail * fs.f_frsize < 128 * 1024;
}

}  // namespace

error damaged(const std::filesystem::path& file, std::string found) {
  const std::string f = file.string();
  return fail(errc::internal, "storage_damaged", "the database " + f + " cannot be used: " + found,
              "Stop the server and keep a copy of " + f +
                  "*. Restore the file from a backup; or salvage what is readable: "
                  "`sqlite3 " +
                  f + " .recover | sqlite3 " + f + ".recovered`, then move " + f + ", " + f + "-wal and " + f +
                  "-shm away and put the recovered file in its place; or move all three away to start empty.");
}

error to_error(const SQLite::Exception& e, const std::filesystem::path& file, sqlite3* handle) {
  const std::string what = file.string() + ": " + e.what();
  switch (e.getErrorCode() & 0xff) {
    case SQLITE_FULL:
      break;
    case SQLITE_IOERR:
      if (disk_is_full(file, handle)) break;
      return fail(errc::unavailable, "storage_io_error", "the disk refused to read or write " + what,
                  "Look at the kernel log (dmesg) for the disk, then try again.");
    case SQLITE_CANTOPEN:
      if (disk_is_full(file, handle)) break;
      return fail(errc::permission_denied, "storage_unreadable", "cannot open " + what,
                  "Check that the folder exists and that the server's user may read and write it.");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fail(errc::unavailable, "storage_busy", "another program holds the database " + what,
                  "Close the other program (`fuser " + file.string() + "` names it) and try again.");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(file, e.what());
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return fail(errc::permission_denied, "storage_read_only", "cannot write " + what,
                  "Give the server's user write access to the file and its folder, or choose another data folder.");
    case SQLITE_TOOBIG:
      return fail(errc::too_large, "too_large", "a value is too large to store: " + what, "Store less in one record.");
    case SQLITE_NOMEM:
      return fail(errc::limit_exceeded, "out_of_memory", "out of memory at " + what, "Free memory and try again.");
    case SQLITE_CONSTRAINT:
      return fail(errc::conflict, "storage_conflict", "the change does not fit what is stored: " + what,
                  "Read the record again and repeat the change.");
    default:
      return fail(errc::internal, "storage_failure", what, "This is a bug of Caged; please report it with this text.");
  }
  return fail(
      errc::insufficient_storage, "disk_full", "no space left to write " + what,
      "Free space on the file system of " + file.parent_path().string() + " and try again; nothing was half-written.");
}

error current_exception_error(const std::filesystem::path& file, sqlite3* handle) {
  try {
    throw;
  } catch (const SQLite::Exception& e) {
    return to_error(e, file, handle);
  } catch (const json::parse_error& e) {
    return damaged(file, std::string("a row holds text that is not JSON (") + e.what() + ")");
  } catch (const json::exception& e) {
    return fail(errc::invalid_argument, "not_utf8", std::string("the value cannot be written as JSON: ") + e.what(),
                "Strings in records and events must be UTF-8; encode other bytes as base64.");
  } catch (const std::bad_alloc&) {
    return fail(errc::limit_exceeded, "out_of_memory", "out of memory at " + file.string(),
                "Free memory and try again.");
  } catch (const std::exception& e) {
    return fail(errc::internal, "storage_failure", file.string() + ": " + e.what(),
                "This is a bug of Caged; please report it with this text.");
  }
}

}  // namespace caged::storage_sqlite
