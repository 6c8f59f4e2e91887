#include "reader.hpp"

#include <sqlite3.h>

#include "statement_use.hpp"

namespace caged::storage_sqlite {
namespace {

std::string to_hex(const SQLite::Column& column) {
  static constexpr char digits[] = "0123456789abcdef";
  const auto* bytes = static_cast<const unsigned char*>(column.getBlob());
  std::string out;
  for (int i = 0; i < column.getBytes(); ++i) {
    out += digits[bytes[i] >> 4];
    out += digits[bytes[i] & 15];
  }
  return out;
}

record read_record(SQLite::Statement& s, const std::string& kind) {
  record r;
  r.kind = kind;
  r.id = s.getColumn(0).getString();
  r.version = static_cast<std::uint64_t>(s.getColumn(1).getInt64());
  r.body = json::parse(s.getColumn(2).getString());
  return r;
}

}  // namespace

// The WHERE of a query and what it binds.
struct reader::plan {
  std::string where;
  std::vector<std::int64_t> values;
  bool by_sequence = false;

  void both(const char* condition, std::int64_t value) {
    where += (where.empty() ? " WHERE " : " AND ") + std::string(condition) + "?";
    values.push_back(value);
  }
  void bind(SQLite::Statement& s) const {
    for (std::size_t i = 0; i < values.size(); ++i) s.bind(static_cast<int>(i + 1), values[i]);
  }
};

reader::reader(std::unique_ptr<SQLite::Database> db) : db_(std::move(db)) {}

SQLite::Statement& reader::prepared(const std::string& sql) {
  auto& slot = statements_[sql];
  if (!slot) slot = std::make_unique<SQLite::Statement>(*db_, sql);
  return *slot;
}

std::optional<std::int64_t> reader::number_of(const std::string& name) {
  use s(prepared("SELECT number FROM names WHERE text = ?"));
  s->bind(1, name);
  if (!s->executeStep()) return std::nullopt;
  return s->getColumn(0).getInt64();
}

const std::string& reader::name_of(std::int64_t number) {
  if (const auto known = names_.find(number); known != names_.end()) return known->second;
  if (names_.size() > 20000) names_.clear();
  use s(prepared("SELECT text FROM names WHERE number = ?"));
  s->bind(1, number);
  if (!s->executeStep())
    throw SQLite::Exception("an event names a session, sandbox or type that is not stored", SQLITE_CORRUPT);
  return names_.emplace(number, s->getColumn(0).getString()).first->second;
}

std::optional<record> reader::get(const std::string& kind, const std::string& id) {
  use s(prepared("SELECT id, version, body FROM records WHERE kind = ? AND id = ?"));
  s->bind(1, kind);
  s->bind(2, id);
  if (!s->executeStep()) return std::nullopt;
  return read_record(*s.operator->(), kind);
}

std::vector<record> reader::list(const std::string& kind, const std::string& after_id, std::size_t limit) {
  use s(prepared("SELECT id, version, body FROM records WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"));
  s->bind(1, kind);
  s->bind(2, after_id);
  s->bind(3, static_cast<std::int64_t>(limit));
  std::vector<record> found;
  while (s->executeStep()) found.push_back(read_record(*s.operator->(), kind));
  return found;
}

// Ids and sequences ascend together within a session, so one is found from the other by halving: the index needs only
// one of them.
std::uint64_t reader::sequence_before(std::int64_t session, std::uint64_t event_id) {
  std::uint64_t low = 0, high = 0;  // sequences <= low are at or before event_id; those > high are after it
  {
    use s(prepared("SELECT sequence FROM events WHERE session = ? ORDER BY sequence DESC LIMIT 1"));
    s->bind(1, session);
    if (s->executeStep()) high = static_cast<std::uint64_t>(s->getColumn(0).getInt64());
  }
  while (low < high) {
    const std::uint64_t middle = low + (high - low + 1) / 2;
    use s(
        prepared("SELECT sequence, id FROM events WHERE session = ? AND sequence <= ? ORDER BY sequence DESC LIMIT 1"));
    s->bind(1, session);
    s->bind(2, static_cast<std::int64_t>(middle));
    if (s->executeStep() && static_cast<std::uint64_t>(s->getColumn(1).getInt64()) > event_id) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return low;
}

std::optional<reader::plan> reader::plan_of(const event_query& q) {
  plan p;
  const bool back = q.newest_first;
  const auto at = [](std::uint64_t v) { return static_cast<std::int64_t>(std::min<std::uint64_t>(v, INT64_MAX)); };
  if (!q.session_id.empty()) {
    const auto session = number_of(q.session_id);
    if (!session) return std::nullopt;
    p.by_sequence = true;
    p.both("session = ", *session);
    if (q.after_sequence != 0) p.both(back ? "sequence < " : "sequence > ", at(q.after_sequence));
    if (q.after_id != 0) {
      const auto sequence = sequence_before(*session, back ? q.after_id - 1 : q.after_id);
      p.both(back ? "sequence <= " : "sequence > ", at(sequence));
    }
  } else if (q.after_id != 0) {
    p.both(back ? "id < " : "id > ", at(q.after_id));
  }
  if (!q.sandbox_id.empty()) {
    const auto sandbox = number_of(q.sandbox_id);
    if (!sandbox) return std::nullopt;
    // "+" keeps SQLite from choosing this index where the session's is the ordered one.
    p.both(p.by_sequence ? "+sandbox = " : "sandbox = ", *sandbox);
  }
  if (!q.types.empty()) {
    std::string list;
    std::vector<std::int64_t> numbers;
    for (const auto& type : q.types) {
      if (const auto number = number_of(type)) numbers.push_back(*number);
    }
    if (numbers.empty()) return std::nullopt;
    for (const auto number : numbers) {
      list += list.empty() ? "?" : ", ?";
      p.values.push_back(number);
    }
    p.where += (p.where.empty() ? " WHERE type IN (" : " AND type IN (") + list + ")";
  }
  return p;
}

std::vector<event> reader::events(const event_query& q) {
  const auto p = plan_of(q);
  std::vector<event> found;
  if (!p) return found;
  const std::string order =
      std::string(p->by_sequence ? " ORDER BY sequence" : " ORDER BY id") + (q.newest_first ? " DESC" : "");
  use s(prepared("SELECT id, session, sequence, sandbox, type, time_us, duration_us, data, hash FROM events" +
                 p->where + order + " LIMIT ?"));
  p->bind(*s.operator->());
  s->bind(static_cast<int>(p->values.size() + 1), static_cast<std::int64_t>(q.limit));
  while (s->executeStep()) {
    event e;
    e.id = static_cast<std::uint64_t>(s->getColumn(0).getInt64());
    e.session_id = name_of(s->getColumn(1).getInt64());
    e.sequence = static_cast<std::uint64_t>(s->getColumn(2).getInt64());
    e.sandbox_id = name_of(s->getColumn(3).getInt64());
    e.type = name_of(s->getColumn(4).getInt64());
    e.time_us = s->getColumn(5).getInt64();
    e.duration_us = s->getColumn(6).getInt64();
    const auto data = s->getColumn(7);
    const auto* text = static_cast<const char*>(data.getBlob());
    e.data = json::parse(text, text + data.getBytes());
    e.hash = to_hex(s->getColumn(8));
    found.push_back(std::move(e));
  }
  return found;
}

// Of whole sessions the counts are kept.
std::optional<std::uint64_t> reader::kept_count(const event_query& q) {
  if (q.session_id.empty() || !q.sandbox_id.empty() || q.after_id != 0 || q.after_sequence != 0) return std::nullopt;
  const auto session = number_of(q.session_id);
  std::uint64_t sum = 0;
  if (!session) return sum;
  use s(prepared("SELECT type, count FROM event_counts WHERE session = ?"));
  s->bind(1, *session);
  while (s->executeStep()) {
    const auto& type = name_of(s->getColumn(0).getInt64());
    if (q.types.empty() || std::find(q.types.begin(), q.types.end(), type) != q.types.end())
      sum += static_cast<std::uint64_t>(s->getColumn(1).getInt64());
  }
  return sum;
}

std::uint64_t reader::count_events(const event_query& q) {
  if (const auto kept = kept_count(q)) return *kept;
  const auto p = plan_of(q);
  if (!p) return 0;
  use s(prepared("SELECT count(*) FROM events" + p->where));
  p->bind(*s.operator->());
  s->executeStep();
  return static_cast<std::uint64_t>(s->getColumn(0).getInt64());
}

std::uint64_t reader::last_event_id() {
  use s(prepared("SELECT coalesce(max(id), 0) FROM events"));
  s->executeStep();
  return static_cast<std::uint64_t>(s->getColumn(0).getInt64());
}

chain_head reader::head(const std::string& session_id) {
  chain_head h;
  const auto session = number_of(session_id);
  if (!session) return h;
  use s(prepared("SELECT sequence, hash FROM events WHERE session = ? ORDER BY sequence DESC LIMIT 1"));
  s->bind(1, *session);
  if (!s->executeStep()) return h;
  h.sequence = static_cast<std::uint64_t>(s->getColumn(0).getInt64());
  h.hash = to_hex(s->getColumn(1));
  return h;
}

}  // namespace caged::storage_sqlite
