#include "schema.hpp"

#include <array>

namespace caged::storage_postgres {
namespace {

struct migration {
  int version;
  const char* name;
  const char* sql;
};

// Never change a migration that was released; add one. Names are bytea: any bytes, compared as bytes.
constexpr std::array migrations{
    migration{1, "records and events", R"sql(
CREATE TABLE records (
  kind bytea NOT NULL, id bytea NOT NULL, version bigint NOT NULL, body text NOT NULL, PRIMARY KEY (kind, id));
CREATE TABLE events (
  id bigint PRIMARY KEY, session bytea NOT NULL, sequence bigint NOT NULL, sandbox bytea NOT NULL, type bytea NOT NULL,
  time_us bigint NOT NULL, duration_us bigint NOT NULL, data text NOT NULL, hash bytea NOT NULL);
CREATE UNIQUE INDEX events_by_session ON events (session, sequence);
CREATE INDEX events_by_sandbox ON events (sandbox, id);
)sql"},
    // How many events of each type a session has: totals cost the same for any number of events.
    migration{2, "counts of events", R"sql(
CREATE TABLE event_counts (session bytea NOT NULL, type bytea NOT NULL, count bigint NOT NULL, PRIMARY KEY (session, type));
INSERT INTO event_counts SELECT session, type, count(*) FROM events GROUP BY session, type;
)sql"},
};

}  // namespace

int newest_schema() { return migrations.back().version; }

result<void> migrate(pqxx::connection& c, const settings& s) {
  int found = 0;
  {
    pqxx::work t(c);
    t.exec("CREATE SCHEMA IF NOT EXISTS " + t.quote_name(s.schema));
    const bool ours = !t.exec("SELECT 1 FROM pg_tables WHERE schemaname = " + t.quote(s.schema) +
                              " AND tablename = 'caged_migrations'")
                           .empty();
    const bool used = !t.exec("SELECT 1 FROM pg_tables WHERE schemaname = " + t.quote(s.schema) + " LIMIT 1").empty();
    if (used && !ours)
      return fail(errc::internal, "storage_foreign",
                  "the schema \"" + s.schema + "\" holds tables that are not Caged's",
                  "Name another one in plugins.storage.postgres.schema.");
    t.exec(
        "CREATE TABLE IF NOT EXISTS caged_migrations (version integer PRIMARY KEY, name text NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())");
    found = t.exec1("SELECT coalesce(max(version), 0) FROM caged_migrations")[0].as<int>();
    t.commit();
  }
  if (found > newest_schema())
    return fail(errc::unsupported, "storage_too_new",
                "the schema \"" + s.schema + "\" has version " + std::to_string(found) + "; this program knows up to " +
                    std::to_string(newest_schema()),
                "Start the Caged version that wrote it (or a newer one), or restore a backup from before the upgrade.");
  for (const auto& m : migrations) {
    if (m.version <= found) continue;
    pqxx::work t(c);
    t.exec(m.sql);
    run_text(t, "INSERT INTO caged_migrations (version, name) VALUES ($1::integer, $2)",
             parameters().number(m.version).text(m.name));
    t.commit();
  }
  return {};
}

}  // namespace caged::storage_postgres
