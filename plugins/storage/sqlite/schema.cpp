#include "schema.hpp"

#include <array>

namespace caged::storage_sqlite {
namespace {

struct migration {
  int version;
  const char* name;
  const char* sql;
};

// Never change a migration that was released; add one.
constexpr std::array migrations{
    migration{1, "records and events", R"sql(
CREATE TABLE records (
  kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL,
  UNIQUE (kind, id)
) STRICT;
-- Sessions, sandboxes and types by number: rows and indexes of events stay small.
CREATE TABLE names (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE events (
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, sequence INTEGER NOT NULL, sandbox INTEGER NOT NULL,
  type INTEGER NOT NULL, time_us INTEGER NOT NULL, duration_us INTEGER NOT NULL, data TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_session ON events (session, sequence);
CREATE INDEX events_by_sandbox ON events (sandbox);
)sql"},
    // How many events of each type a session has: totals cost the same for any number of events.
    migration{2, "counts of events", R"sql(
CREATE TABLE event_counts (
  session INTEGER NOT NULL, type INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (session, type)
) STRICT, WITHOUT ROWID;
INSERT INTO event_counts SELECT session, type, count(*) FROM events GROUP BY session, type;
)sql"},
};

}  // namespace

int newest_schema() { return migrations.back().version; }

result<void> migrate(SQLite::Database& db, const std::filesystem::path& file) {
  db.exec(
      "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
      "applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))) STRICT");
  const int found = db.execAndGet("SELECT coalesce(max(version), 0) FROM migrations").getInt();
  if (found > newest_schema())
    return fail(errc::unsupported, "storage_too_new",
                "the database " + file.string() + " has schema " + std::to_string(found) +
                    "; this program knows up to " + std::to_string(newest_schema()),
                "Start the Caged version that wrote it (or a newer one), or restore a backup from before the upgrade.");
  for (const auto& m : migrations) {
    if (m.version <= found) continue;
    SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
    db.exec(m.sql);
    SQLite::Statement note(db, "INSERT INTO migrations (version, name) VALUES (?, ?)");
    note.bind(1, m.version);
    note.bind(2, m.name);
    note.exec();
    transaction.commit();
  }
  return {};
}

}  // namespace caged::storage_sqlite
