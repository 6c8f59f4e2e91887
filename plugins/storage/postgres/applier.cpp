#include "applier.hpp"

namespace caged::storage_postgres {
namespace {

constexpr std::size_t max_cached = 20000;

parameters name_of(const write& w) { return parameters().bytes(w.kind).bytes(w.id); }

}  // namespace

applier::applier(pqxx::connection& c) {
  c.prepare("version", "SELECT version FROM records WHERE kind = $1 AND id = $2");
  c.prepare("upsert",
            "INSERT INTO records (kind, id, version, body) VALUES ($1, $2, 1, $3) "
            "ON CONFLICT (kind, id) DO UPDATE SET version = records.version + 1, body = excluded.body");
  c.prepare("insert",
            "INSERT INTO records (kind, id, version, body) VALUES ($1, $2, 1, $3) ON CONFLICT (kind, id) DO NOTHING");
  c.prepare("update",
            "UPDATE records SET version = version + 1, body = $3 WHERE kind = $1 AND id = $2 AND version = $4");
  c.prepare("delete", "DELETE FROM records WHERE kind = $1 AND id = $2");
  c.prepare("last_sequence", "SELECT coalesce(max(sequence), 0) FROM events WHERE session = $1");
  c.prepare("add_event",
            "INSERT INTO events (id, session, sequence, sandbox, type, time_us, duration_us, data, hash) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
  c.prepare("add_count",
            "INSERT INTO event_counts (session, type, count) VALUES ($1, $2, $3) "
            "ON CONFLICT (session, type) DO UPDATE SET count = event_counts.count + excluded.count");
  c.prepare("count_cut", "SELECT type, count(*) FROM events WHERE session = $1 AND sequence <= $2 GROUP BY type");
  c.prepare("cut", "DELETE FROM events WHERE session = $1 AND sequence <= $2");
}

void applier::forget() {
  sequences_.clear();
  counted_.clear();
  last_id_.reset();
}

result<void> applier::apply(pqxx::transaction_base& t, const batch& b) {
  for (const auto& w : b.writes) {
    const auto apply_one = w.what == write::op::put ? &applier::put : w.what == write::op::cut ? &applier::cut : &applier::erase;
    if (auto done = (this->*apply_one)(t, w); !done) return done;
  }
  for (const auto& e : b.events)
    if (auto done = append(t, e); !done) return done;
  add_counts(t);
  // A host lives for months: what is cached is bounded.
  if (sequences_.size() > max_cached) sequences_.clear();
  return {};
}

std::optional<std::uint64_t> applier::version_of(pqxx::transaction_base& t, const write& w) {
  const auto rows = run(t, "version", name_of(w));
  if (rows.empty()) return std::nullopt;
  return rows[0][0].as<std::uint64_t>();
}

result<void> applier::put(pqxx::transaction_base& t, const write& w) {
  parameters p = name_of(w).text(w.body.dump());  // throws on text that is not UTF-8
  const char* statement = !w.expect_version ? "upsert" : *w.expect_version == 0 ? "insert" : "update";
  if (w.expect_version && *w.expect_version != 0) p.number(static_cast<std::int64_t>(*w.expect_version));
  if (run(t, statement, p).affected_rows() == 0) return version_conflict(w, version_of(t, w));
  return {};
}

result<void> applier::erase(pqxx::transaction_base& t, const write& w) {
  if (w.expect_version) {
    const auto found = version_of(t, w);
    if (found.value_or(0) != *w.expect_version) return version_conflict(w, found);
  }
  run(t, "delete", name_of(w));
  return {};
}

// Counts are right at the end of each batch only, which is all that anybody sees.
void applier::add_counts(pqxx::transaction_base& t) {
  for (const auto& [where, count] : counted_)
    run(t, "add_count", parameters().bytes(where.first).bytes(where.second).number(count));
  counted_.clear();
}

result<void> applier::cut(pqxx::transaction_base& t, const write& w) {
  const auto up_to = static_cast<std::int64_t>(std::min<std::uint64_t>(w.body.get<std::uint64_t>(), INT64_MAX));
  for (const auto& row : run(t, "count_cut", parameters().bytes(w.id).number(up_to)))
    counted_[{w.id, bytes_of(row[0])}] -= row[1].as<std::int64_t>();
  run(t, "cut", parameters().bytes(w.id).number(up_to));
  return {};
}

// The journal assigns ids and sequences; this is the last line against two writers that each believe to be the only
// one.
result<void> applier::append(pqxx::transaction_base& t, const event& e) {
  if (!last_id_) last_id_ = t.exec1("SELECT coalesce(max(id), 0) FROM events")[0].as<std::uint64_t>();
  auto known = sequences_.find(e.session_id);
  if (known == sequences_.end()) {
    const auto rows = run(t, "last_sequence", parameters().bytes(e.session_id));
    known = sequences_.emplace(e.session_id, rows[0][0].as<std::uint64_t>()).first;
  }
  if (e.id <= *last_id_ || e.sequence != known->second + 1) return event_out_of_order(e, *last_id_, known->second);
  parameters p;
  p.number(static_cast<std::int64_t>(e.id)).bytes(e.session_id).number(static_cast<std::int64_t>(e.sequence));
  p.bytes(e.sandbox_id).bytes(e.type).number(e.time_us).number(e.duration_us).text(e.data.dump()).text("\\x" + e.hash);
  run(t, "add_event", p);
  ++counted_[{e.session_id, e.type}];
  last_id_ = e.id;
  known->second = e.sequence;
  return {};
}

}  // namespace caged::storage_postgres
