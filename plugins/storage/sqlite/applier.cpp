#include "applier.hpp"

#include <array>
#include <limits>

namespace caged::storage_sqlite {
namespace {

constexpr std::size_t max_name = 1024;
constexpr std::size_t max_cached = 20000;

error bad_name(const char* what, const std::string& value) {
  return fail(
      errc::invalid_argument, "invalid_name",
      std::string("the ") + what + " is " + (value.empty() ? "empty" : std::to_string(value.size()) + " bytes long"),
      "Names have 1 to 1024 bytes.");
}

int hex_value(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool decode_hash(const std::string& hex, std::array<unsigned char, 32>& out) {
  if (hex.size() != 64) return false;
  for (std::size_t i = 0; i < 32; ++i) {
    const int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<unsigned char>(high << 4 | low);
  }
  return true;
}

// Ends the statement's use of the row and of bound memory, on every way out.
class use {
 public:
  explicit use(SQLite::Statement& s) : s_(s) {}
  ~use() { s_.tryReset(); }
  SQLite::Statement* operator->() { return &s_; }

 private:
  SQLite::Statement& s_;
};

void bind_all(SQLite::Statement& s, const std::string& a, const std::string& b) {
  s.bindNoCopy(1, a);
  s.bindNoCopy(2, b);
}

std::string record_name(const write& w) { return w.kind + " \"" + w.id + "\""; }

}  // namespace

result<void> check_batch(const batch& b) {
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  for (const auto& w : b.writes) {
    if (w.kind.empty() || w.kind.size() > max_name) return bad_name("kind of a record", w.kind);
    if (w.id.empty() || w.id.size() > max_name) return bad_name("id of a record", w.id);
    if (w.what == write::op::unset)
      return fail(errc::invalid_argument, "invalid_write", "the write of " + record_name(w) + " has no operation",
                  "Use put or erase.");
    if (w.expect_version && *w.expect_version > largest)
      return fail(errc::conflict, "version_conflict", record_name(w) + " cannot have that version",
                  "Read the record again.");
  }
  std::array<unsigned char, 32> digest{};
  for (const auto& e : b.events) {
    if (e.session_id.empty() || e.session_id.size() > max_name) return bad_name("session id of an event", e.session_id);
    if (e.sandbox_id.size() > max_name) return bad_name("sandbox id of an event", e.sandbox_id);
    if (e.type.empty() || e.type.size() > max_name) return bad_name("type of an event", e.type);
    if (e.id == 0 || e.id > largest || e.sequence == 0 || e.sequence > largest || !decode_hash(e.hash, digest))
      return fail(errc::invalid_argument, "incomplete_event",
                  "an event of type " + e.type + " lacks its id, sequence or hash",
                  "Append events through the journal, which assigns them.");
  }
  return {};
}

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
                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)") {}

void applier::forget() {
  names_.clear();
  sequences_.clear();
  last_id_.reset();
}

result<void> applier::apply(const batch& b) {
  for (const auto& w : b.writes) {
    auto done = w.what == write::op::put ? put(w) : erase(w);
    if (!done) return done;
  }
  for (const auto& e : b.events) {
    if (auto done = append(e); !done) return done;
  }
  // A host lives for months: what is cached is bounded.
  if (names_.size() > max_cached) names_.clear();
  if (sequences_.size() > max_cached) sequences_.clear();
  return {};
}

std::optional<std::int64_t> applier::version_of(const write& w) {
  use s(select_version_);
  bind_all(*s.operator->(), w.kind, w.id);
  if (!s->executeStep()) return std::nullopt;
  return s->getColumn(0).getInt64();
}

error applier::version_conflict(const write& w) {
  const auto found = version_of(w);
  const std::string expected = *w.expect_version == 0 ? "none" : "version " + std::to_string(*w.expect_version);
  return fail(errc::conflict, "version_conflict",
              record_name(w) + (found ? " has version " + std::to_string(*found) : std::string(" does not exist")) +
                  "; expected was " + expected,
              "Read the record again and repeat the change.");
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
  if (!changed) return version_conflict(w);
  return {};
}

result<void> applier::erase(const write& w) {
  if (w.expect_version) {
    const auto found = version_of(w);
    if (static_cast<std::uint64_t>(found.value_or(0)) != *w.expect_version) return version_conflict(w);
  }
  use s(delete_);
  bind_all(delete_, w.kind, w.id);
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
  if (e.id <= *last_id_ || e.sequence != last_sequence + 1)
    return fail(errc::conflict, "event_out_of_order",
                "event " + std::to_string(e.id) + " (number " + std::to_string(e.sequence) + " of session " +
                    e.session_id + ") does not follow event " + std::to_string(*last_id_) + " (number " +
                    std::to_string(last_sequence) + ")",
                "Append events through one journal.");
  const std::string text = e.data.dump();
  std::array<unsigned char, 32> digest{};
  decode_hash(e.hash, digest);
  use s(add_event_);
  s->bind(1, static_cast<std::int64_t>(e.id));
  s->bind(2, session);
  s->bind(3, static_cast<std::int64_t>(e.sequence));
  s->bind(4, number_of(e.sandbox_id));
  s->bind(5, number_of(e.type));
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
