#include "applier.hpp"

#include <array>

#include "statement_use.hpp"

namespace caged::storage_sqlite {
namespace {

constexpr std::size_t max_cached = 20000;

int hex_value(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// Precondition: check_batch() has seen it.
std::array<unsigned char, 32> decode_hash(const std::string& hex) {
  std::array<unsigned char, 32> out{};
  for (std::size_t i = 0; i < 32; ++i) {
    out[i] = static_cast<unsigned char>(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
  }
  return out;
}

void bind_all(SQLite::Statement& s, const std::string& a, const std::string& b) {
  s.bindNoCopy(1, a);
  s.bindNoCopy(2, b);
}

}  // namespace

applier::applier(SQLite::Database& db)
    : db_(db),
      select_version_(db, "SELECT version FROM records WHERE kind = ?1 AND id = ?2"),
      upsert_(db,
              "INSERT INTO records (kind, id, version, body) VALUES (?1, ?2, 1, ?3) "
              "ON CONFLICT (kind, id) DO UPDATE SET version = version + 1, body = excluded.body"),
      insert_(db,
              "INSERT INTO records (kind, id, version, body) VALUES (?1, ?2, 1, ?3) ON CONFLICT (kind, id) DO NOTHING"),
      update_(db, "UPDATE records SET version = version + 1, body = ?3 WHERE kind = ?1 AND id = ?2 AND version = ?4"),
      delete_(db, "DELETE FROM records WHERE kind = ?1 AND id = ?2"),
      find_name_(db, "SELECT number FROM names WHERE text = ?1"),
      add_name_(db, "INSERT INTO names (text) VALUES (?1)"),
      last_sequence_(db, "SELECT sequence FROM events WHERE session = ?1 ORDER BY sequence DESC LIMIT 1"),
      last_event_(db, "SELECT coalesce(max(id), 0) FROM events"),
      add_event_(db,
                 "INSERT INTO events (id, session, sequence, sandbox, type, time_us, duration_us, data, hash) "
                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"),
      add_count_(db,
                 "INSERT INTO event_counts (session, type, count) VALUES (?1, ?2, ?3) "
                 "ON CONFLICT (session, type) DO UPDATE SET count = count + excluded.count"),
      count_cut_(db, "SELECT type, count(*) FROM events WHERE session = ?1 AND sequence <= ?2 GROUP BY type"),
      cut_(db, "DELETE FROM events WHERE session = ?1 AND sequence <= ?2") {}

void applier::forget() {
  names_.clear();
  sequences_.clear();
  counted_.clear();
  last_id_.reset();
}

result<void> applier::apply(const batch& b) {
  for (const auto& w : b.writes) {
    const auto apply_one = w.what == write::op::put ? &applier::put : w.what == write::op::cut ? &applier::cut : &applier::erase;
    if (auto done = (this->*apply_one)(w); !done) return done;
  }
  for (const auto& e : b.events) {
    if (auto done = append(e); !done) return done;
  }
  add_counts();
  // A host lives for months: what is cached is bounded.
  if (names_.size() > max_cached) names_.clear();
  if (sequences_.size() > max_cached) sequences_.clear();
  return {};
}

std::optional<std::uint64_t> applier::version_of(const write& w) {
  use s(select_version_);
  bind_all(*s.operator->(), w.kind, w.id);
  if (!s->executeStep()) return std::nullopt;
  return static_cast<std::uint64_t>(s->getColumn(0).getInt64());
}

result<void> applier::put(const write& w) {
  const std::string text = w.body.dump();  // throws on text that is not UTF-8
  SQLite::Statement& chosen = !w.expect_version ? upsert_ : *w.expect_version == 0 ? insert_ : update_;
  bool changed = false;
  {
    use s(chosen);
    bind_all(chosen, w.kind, w.id);
    chosen.bindNoCopy(3, text);
    if (w.expect_version && *w.expect_version != 0) chosen.bind(4, static_cast<std::int64_t>(*w.expect_version));
    changed = s->exec() > 0;
  }
  if (!changed) return version_conflict(w, version_of(w));
  return {};
}

result<void> applier::erase(const write& w) {
  if (w.expect_version) {
    const auto found = version_of(w);
    if (found.value_or(0) != *w.expect_version) return version_conflict(w, found);
  }
  use s(delete_);
  bind_all(delete_, w.kind, w.id);
  s->exec();
  return {};
}

// Counts are right at the end of each batch only, which is all that anybody sees.
void applier::add_counts() {
  for (const auto& [where, count] : counted_) {
    use s(add_count_);
    s->bind(1, where.first);
    s->bind(2, where.second);
    s->bind(3, count);
    s->exec();
  }
  counted_.clear();
}

result<void> applier::cut(const write& w) {
  const std::int64_t session = number_of(w.id);
  const auto up_to = static_cast<std::int64_t>(std::min<std::uint64_t>(w.body.get<std::uint64_t>(), INT64_MAX));
  {
    use s(count_cut_);
    s->bind(1, session);
    s->bind(2, up_to);
    while (s->executeStep()) counted_[{session, s->getColumn(0).getInt64()}] -= s->getColumn(1).getInt64();
  }
  use s(cut_);
  s->bind(1, session);
  s->bind(2, up_to);
  s->exec();
  return {};
}

std::int64_t applier::number_of(const std::string& name) {
  if (const auto known = names_.find(name); known != names_.end()) return known->second;
  std::int64_t number = 0;
  {
    use s(find_name_);
    s->bindNoCopy(1, name);
    if (s->executeStep()) number = s->getColumn(0).getInt64();
  }
  if (number == 0) {
    use s(add_name_);
    s->bindNoCopy(1, name);
    s->exec();
    number = db_.getLastInsertRowid();
  }
  names_.emplace(name, number);
  return number;
}

std::uint64_t& applier::sequence_of(std::int64_t session) {
  if (const auto known = sequences_.find(session); known != sequences_.end()) return known->second;
  use s(last_sequence_);
  s->bind(1, session);
  const std::uint64_t last = s->executeStep() ? static_cast<std::uint64_t>(s->getColumn(0).getInt64()) : 0;
  return sequences_.emplace(session, last).first->second;
}

// The journal assigns ids and sequences; this is the last line against two writers that each believe to be the only
// one.
result<void> applier::append(const event& e) {
  if (!last_id_) {
    use s(last_event_);
    s->executeStep();
    last_id_ = static_cast<std::uint64_t>(s->getColumn(0).getInt64());
  }
  const std::int64_t session = number_of(e.session_id);
  std::uint64_t& last_sequence = sequence_of(session);
  if (e.id <= *last_id_ || e.sequence != last_sequence + 1) return event_out_of_order(e, *last_id_, last_sequence);
  const std::int64_t type = number_of(e.type);
  ++counted_[{session, type}];
  const std::string text = e.data.dump();
  const auto digest = decode_hash(e.hash);
  use s(add_event_);
  s->bind(1, static_cast<std::int64_t>(e.id));
  s->bind(2, session);
  s->bind(3, static_cast<std::int64_t>(e.sequence));
  s->bind(4, number_of(e.sandbox_id));
  s->bind(5, type);
  s->bind(6, e.time_us);
  s->bind(7, e.duration_us);
  s->bindNoCopy(8, text);
  s->bindNoCopy(9, digest.data(), static_cast<int>(digest.size()));
  s->exec();
  last_id_ = e.id;
  last_sequence = e.sequence;
  return {};
}

}  // namespace caged::storage_sqlite
