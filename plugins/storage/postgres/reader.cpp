#include "reader.hpp"

namespace caged::storage_postgres {
namespace {

record record_of(const std::string& kind, const pqxx::row& row) {
  record r;
  r.kind = kind;
  r.id = bytes_of(row[0]);
  r.version = row[1].as<std::uint64_t>();
  r.body = json::parse(row[2].c_str(), row[2].c_str() + row[2].size());
  return r;
}

event event_of(const pqxx::row& row) {
  event e;
  e.id = row[0].as<std::uint64_t>();
  e.session_id = bytes_of(row[1]);
  e.sequence = row[2].as<std::uint64_t>();
  e.sandbox_id = bytes_of(row[3]);
  e.type = bytes_of(row[4]);
  e.time_us = row[5].as<std::int64_t>();
  e.duration_us = row[6].as<std::int64_t>();
  e.data = json::parse(row[7].c_str(), row[7].c_str() + row[7].size());
  e.hash = hex_of(row[8]);
  return e;
}

// The WHERE of a query and what it binds.
struct plan {
  std::string where;
  parameters values;

  std::string next() const { return "$" + std::to_string(values.size() + 1); }
  void both(const std::string& condition) { where += (where.empty() ? " WHERE " : " AND ") + condition; }
  void number(const std::string& condition, std::uint64_t value) {
    both(condition + next() + "::bigint");
    values.number(static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX)));
  }
  void bytes(const std::string& condition, const std::string& value) {
    both(condition + next() + "::bytea");
    values.bytes(value);
  }
};

plan plan_of(const event_query& q) {
  plan p;
  const bool back = q.newest_first;
  if (!q.session_id.empty()) {
    p.bytes("session = ", q.session_id);
    if (q.after_sequence != 0) p.number(back ? "sequence < " : "sequence > ", q.after_sequence);
    // Ids and sequences ascend together within a session: the bound becomes one of the ordered index.
    if (q.after_id != 0) {
      p.both(back ? "sequence < coalesce((SELECT min(sequence) FROM events WHERE session = $1::bytea AND id >= " +
                        p.next() + "::bigint), 9223372036854775807)"
                  : "sequence > coalesce((SELECT max(sequence) FROM events WHERE session = $1::bytea AND id <= " +
                        p.next() + "::bigint), 0)");
      p.values.number(static_cast<std::int64_t>(std::min<std::uint64_t>(q.after_id, INT64_MAX)));
    }
  } else if (q.after_id != 0) {
    p.number(back ? "id < " : "id > ", q.after_id);
  }
  if (!q.sandbox_id.empty()) p.bytes("sandbox = ", q.sandbox_id);
  if (!q.types.empty()) {
    std::string list;
    for (const auto& type : q.types) {
      list += (list.empty() ? "" : ", ") + p.next() + "::bytea";
      p.values.bytes(type);
    }
    p.both("type IN (" + list + ")");
  }
  return p;
}

}  // namespace

std::optional<record> reader::get(const std::string& kind, const std::string& id) {
  pqxx::nontransaction t(*connection_);
  const auto rows = run_text(t, "SELECT id, version, body FROM records WHERE kind = $1 AND id = $2",
                             parameters().bytes(kind).bytes(id));
  if (rows.empty()) return std::nullopt;
  return record_of(kind, rows[0]);
}

std::vector<record> reader::list(const std::string& kind, const std::string& after_id, std::size_t limit) {
  pqxx::nontransaction t(*connection_);
  const auto rows =
      run_text(t, "SELECT id, version, body FROM records WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3::bigint",
               parameters().bytes(kind).bytes(after_id).number(static_cast<std::int64_t>(limit)));
  std::vector<record> found;
  for (const auto& row : rows) found.push_back(record_of(kind, row));
  return found;
}

std::vector<event> reader::events(const event_query& q) {
  plan p = plan_of(q);
  const std::string order =
      std::string(q.session_id.empty() ? " ORDER BY id" : " ORDER BY sequence") + (q.newest_first ? " DESC" : "");
  const std::string sql = "SELECT id, session, sequence, sandbox, type, time_us, duration_us, data, hash FROM events" +
                          p.where + order + " LIMIT " + p.next() + "::bigint";
  p.values.number(static_cast<std::int64_t>(q.limit));
  pqxx::nontransaction t(*connection_);
  std::vector<event> found;
  for (const auto& row : run_text(t, sql, p.values)) found.push_back(event_of(row));
  return found;
}

std::uint64_t reader::count_events(const event_query& q) {
  // Of whole sessions the counts are kept.
  if (!q.session_id.empty() && q.sandbox_id.empty() && q.after_id == 0 && q.after_sequence == 0) {
    pqxx::nontransaction t(*connection_);
    std::uint64_t sum = 0;
    for (const auto& row : run_text(t, "SELECT type, count FROM event_counts WHERE session = $1", parameters().bytes(q.session_id)))
      if (q.types.empty() || std::find(q.types.begin(), q.types.end(), bytes_of(row[0])) != q.types.end())
        sum += row[1].as<std::uint64_t>();
    return sum;
  }
  const plan p = plan_of(q);
  pqxx::nontransaction t(*connection_);
  return run_text(t, "SELECT count(*) FROM events" + p.where, p.values)[0][0].as<std::uint64_t>();
}

std::uint64_t reader::last_event_id() {
  pqxx::nontransaction t(*connection_);
  return t.exec1("SELECT coalesce(max(id), 0) FROM events")[0].as<std::uint64_t>();
}

chain_head reader::head(const std::string& session_id) {
  pqxx::nontransaction t(*connection_);
  const auto rows = run_text(t, "SELECT sequence, hash FROM events WHERE session = $1 ORDER BY sequence DESC LIMIT 1",
                             parameters().bytes(session_id));
  chain_head h;
  if (rows.empty()) return h;
  h.sequence = rows[0][0].as<std::uint64_t>();
  h.hash = hex_of(rows[0][1]);
  return h;
}

}  // namespace caged::storage_postgres
