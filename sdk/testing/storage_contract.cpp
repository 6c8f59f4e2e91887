#include "storage_contract.hpp"

#include <algorithm>
#include <caged/random.hpp>
#include <limits>
#include <map>

namespace caged::testing {
namespace {

write put(std::string kind, std::string id, json body, std::optional<std::uint64_t> expected = {}) {
  write w;
  w.kind = std::move(kind);
  w.id = std::move(id);
  w.body = std::move(body);
  w.expect_version = expected;
  return w;
}

write erase(std::string kind, std::string id, std::optional<std::uint64_t> expected = {}) {
  write w = put(std::move(kind), std::move(id), {}, expected);
  w.what = write::op::erase;
  return w;
}

batch of(std::vector<write> writes, std::vector<event> events = {}) {
  batch b;
  b.writes = std::move(writes);
  b.events = std::move(events);
  return b;
}

json number(int n) {
  json j = json::object();
  j["n"] = n;
  return j;
}

// Makes events the way a journal does, without its chain.
class event_maker {
 public:
  event make(const std::string& session, const std::string& sandbox, const std::string& type,
             json data = json::object()) {
    event e;
    e.id = ++id_;
    e.session_id = session;
    e.sequence = ++sequences_[session];
    e.sandbox_id = sandbox;
    e.type = type;
    e.time_us = 1700000000000000 + static_cast<std::int64_t>(e.id);
    e.duration_us = static_cast<std::int64_t>(e.id % 7);
    e.data = std::move(data);
    e.hash = sha256_hex(session + std::to_string(e.id));
    return e;
  }

 private:
  std::uint64_t id_ = 0;
  std::map<std::string, std::uint64_t> sequences_;
};

void counts_versions(storage_probe& p) {
  p.expect(!p.need(p.store().get("k", "a"), "get a record that is not there"), "a missing record is nothing");
  p.need(p.store().commit(of({put("k", "a", number(1))})), "first put");
  p.need(p.store().commit(of({put("k", "a", number(2))})), "second put");
  const auto found = p.need(p.store().get("k", "a"), "get");
  p.expect(found && found->version == 2 && found->body == number(2) && found->kind == "k" && found->id == "a",
           "the second put is version 2 with its body");
  p.expect(!p.need(p.store().get("other", "a"), "get of another kind"), "kinds are apart");
  p.need(p.store().commit(of({erase("k", "a")})), "erase");
  p.expect(!p.need(p.store().get("k", "a"), "get after erase"), "an erased record is gone");
  p.need(p.store().commit(of({erase("k", "a")})), "erasing what is not there");
  p.need(p.store().commit(of({put("k", "a", number(3))})), "put after erase");
  const auto again = p.need(p.store().get("k", "a"), "get again");
  p.expect(again && again->version == 1, "a record made anew begins with version 1");
}

void compares_versions(storage_probe& p) {
  p.refused(p.store().commit(of({put("k", "a", number(1), 1)})), errc::conflict, "expect version 1 of nothing");
  p.need(p.store().commit(of({put("k", "a", number(1), 0)})), "expect nothing, find nothing");
  p.refused(p.store().commit(of({put("k", "a", number(2), 0)})), errc::conflict, "expect nothing, find version 1");
  p.refused(p.store().commit(of({put("k", "a", number(2), 2)})), errc::conflict, "expect version 2, find 1");
  p.refused(p.store().commit(of({put("k", "a", number(2), std::numeric_limits<std::uint64_t>::max())})), errc::conflict,
            "expect an impossible version");
  p.need(p.store().commit(of({put("k", "a", number(2), 1)})), "expect version 1, find 1");
  p.refused(p.store().commit(of({erase("k", "a", 1)})), errc::conflict, "erase version 1, find 2");
  p.refused(p.store().commit(of({erase("k", "b", 1)})), errc::conflict, "erase version 1 of nothing");
  p.need(p.store().commit(of({erase("k", "a", 2)})), "erase version 2");
  // Within a batch each write sees those before it.
  p.need(p.store().commit(of({put("k", "c", number(1), 0), put("k", "c", number(2), 1), erase("k", "c", 2),
                              put("k", "c", number(3), 0)})),
         "a batch that builds on itself");
  const auto c = p.need(p.store().get("k", "c"), "get c");
  p.expect(c && c->version == 1 && c->body == number(3), "the batch was applied in order");
}

void all_or_nothing(storage_probe& p) {
  event_maker make;
  p.need(p.store().commit(of({put("k", "taken", number(1))})), "prepare");
  auto e = make.make("s", "b", "command");
  p.refused(p.store().commit(of({put("k", "x", number(1)), erase("k", "taken"), put("k", "y", number(1), 5)}, {e})),
            errc::conflict, "a batch whose last write conflicts");
  p.expect(!p.need(p.store().get("k", "x"), "get x"), "nothing of a refused batch is stored");
  p.expect(p.need(p.store().get("k", "taken"), "get taken").has_value(), "nothing of a refused batch is erased");
  p.expect(p.need(p.store().last_event_id(), "last id") == 0, "no event of a refused batch is stored");
  p.need(p.store().commit(of({put("k", "x", number(1))}, {e})), "the same event in a good batch");
  p.expect(p.need(p.store().last_event_id(), "last id") == e.id, "the event is stored now");
  auto next = make.make("s", "b", "command");
  p.refused(p.store().commit(of({put("k", "z", number(1))}, {next, next})), errc::conflict,
            "a batch whose events conflict");
  p.expect(!p.need(p.store().get("k", "z"), "get z"), "nor its records");
  p.need(p.store().commit({}), "an empty batch");
}

void refuses_bad_input(storage_probe& p) {
  p.refused(p.store().commit(of({put("", "a", number(1))})), errc::invalid_argument, "an empty kind");
  p.refused(p.store().commit(of({put("k", "", number(1))})), errc::invalid_argument, "an empty id");
  p.refused(p.store().commit(of({put("k", std::string(5000, 'x'), number(1))})), errc::invalid_argument,
            "an id of 5000 bytes");
  write unset = put("k", "a", number(1));
  unset.what = write::op::unset;
  p.refused(p.store().commit(of({unset})), errc::invalid_argument, "a write without an operation");
  p.refused(p.store().commit(of({put("k", "a", json("\xff\xfe"))})), errc::invalid_argument,
            "a body that is not UTF-8");
  event_maker make;
  for (int wrong = 0; wrong < 6; ++wrong) {
    auto e = make.make("s", "b", "command");
    if (wrong == 0) e.id = 0;
    if (wrong == 1) e.sequence = 0;
    if (wrong == 2) e.hash = "";
    if (wrong == 3) e.hash[5] = 'G';
    if (wrong == 4) e.session_id = "";
    if (wrong == 5) e.type = "";
    p.refused(p.store().commit(of({put("k", "a", number(1))}, {e})), errc::invalid_argument,
              "incomplete event " + std::to_string(wrong));
  }
  for (const std::size_t limit : {std::size_t{0}, std::size_t{10001}}) {
    event_query q;
    q.limit = limit;
    p.refused(p.store().events(q), errc::invalid_argument, "events with limit " + std::to_string(limit));
    p.refused(p.store().list("k", "", limit), errc::invalid_argument, "list with limit " + std::to_string(limit));
  }
  p.expect(!p.need(p.store().get("k", "a"), "get"), "nothing of it is stored");
  p.need(p.store().commit(of({put("k", "a", number(1))})), "a good batch afterwards");
}

void pages_records(storage_probe& p) {
  std::vector<write> writes;
  for (int i = 0; i < 250; ++i) writes.push_back(put("page", "id" + std::to_string(i), number(i)));
  writes.push_back(put("pagf", "id", number(0)));
  writes.push_back(put("pag", "id", number(0)));
  p.need(p.store().commit(of(std::move(writes))), "250 records in one batch");
  std::vector<std::string> seen;
  std::string after;
  while (seen.size() <= 250) {
    const auto page = p.need(p.store().list("page", after, 7), "a page");
    p.expect(page.size() <= 7, "a page is not longer than asked for");
    for (const auto& r : page) seen.push_back(r.id);
    if (page.size() < 7) break;
    after = page.back().id;
  }
  p.expect(seen.size() == 250, "paging finds each record once, found " + std::to_string(seen.size()));
  p.expect(std::is_sorted(seen.begin(), seen.end()), "ids ascend bytewise");
  p.expect(p.need(p.store().list("none", "", 10), "list of a kind without records").empty(), "an empty list");
}

void keeps_strange_names(storage_probe& p) {
  std::vector<std::string> ids = {"'; DROP TABLE records; --",
                                  "\"",
                                  "%",
                                  "_",
                                  "a%",
                                  "*",
                                  "?1",
                                  ":x",
                                  "\\",
                                  std::string("nul\0in", 6),
                                  std::string(1, '\0'),
                                  "\xf0\x9f\x90\x8d",
                                  "\xc3\xa9",
                                  "e\xcc\x81",
                                  "E",
                                  "e",
                                  " ",
                                  "\n",
                                  "-1",
                                  "9223372036854775808",
                                  std::string(1024, 'x'),
                                  std::string("nul\0zz", 6),
                                  "nul"};
  for (const auto& id : ids) p.need(p.store().commit(of({put("k'\"", id, json(id), 0)})), "put under a strange id");
  for (const auto& id : ids) {
    const auto r = p.need(p.store().get("k'\"", id), "get by a strange id");
    p.expect(r && r->body == json(id) && r->id == id, "a strange id finds its own record");
  }
  std::sort(ids.begin(), ids.end());
  std::vector<std::string> listed;
  for (const auto& r : p.need(p.store().list("k'\"", "", 1000), "list")) listed.push_back(r.id);
  p.expect(listed == ids, "strange ids are listed bytewise, each once");
  event_maker make;
  for (const auto& id : ids)
    p.need(p.store().commit(of({}, {make.make(id, id, id, json(id))})), "an event of a strange session");
  for (const auto& id : ids) {
    event_query q;
    q.session_id = id;
    q.sandbox_id = id;
    q.types = {id};
    const auto found = p.need(p.store().events(q), "events of a strange session");
    p.expect(found.size() == 1 && found[0].session_id == id && found[0].type == id && found[0].data == json(id),
             "finds its own event");
  }
}

void keeps_values(storage_probe& p) {
  json deep = 1;
  for (int i = 0; i < 60; ++i) deep = json::array({deep});
  std::string controls;
  for (int c = 0; c < 128; ++c) controls += static_cast<char>(c);
  const std::vector<json> values = {nullptr,
                                    true,
                                    false,
                                    0,
                                    -1,
                                    std::numeric_limits<std::int64_t>::min(),
                                    std::numeric_limits<std::uint64_t>::max(),
                                    0.1,
                                    -0.0,
                                    1e300,
                                    "",
                                    controls,
                                    json::array(),
                                    json::object(),
                                    deep,
                                    std::string(8 << 20, 'h'),
                                    json::array({1, "2", nullptr, json::object()})};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string id = "v" + std::to_string(i);
    p.need(p.store().commit(of({put("value", id, values[i])})), "put value " + id);
    const auto r = p.need(p.store().get("value", id), "get value " + id);
    p.expect(r && r->body == values[i] && r->body.dump() == values[i].dump(), "value " + id + " comes back as it was");
  }
}

std::vector<std::uint64_t> ids_of(const std::vector<event>& events) {
  std::vector<std::uint64_t> ids;
  for (const auto& e : events) ids.push_back(e.id);
  return ids;
}

void finds_events(storage_probe& p) {
  event_maker make;
  std::vector<event> all;
  for (int i = 0; i < 300; ++i) {
    const std::string n = std::to_string(i % 3);
    all.push_back(make.make("session" + n, i % 2 == 0 ? "even" : "odd", i % 5 == 0 ? "error" : "command", number(i)));
  }
  p.need(p.store().commit(of({}, all)), "300 events in one batch");
  const auto check = [&p, &all](event_query q, const std::string& what) {
    std::vector<std::uint64_t> expected, seen;
    for (const auto& e : all) {
      const bool type = q.types.empty() || std::find(q.types.begin(), q.types.end(), e.type) != q.types.end();
      if (type && (q.session_id.empty() || q.session_id == e.session_id) &&
          (q.sandbox_id.empty() || q.sandbox_id == e.sandbox_id))
        expected.push_back(e.id);
    }
    p.expect(p.need(p.store().count_events(q), what) == expected.size(), what + ": the count fits");
    if (q.newest_first) std::reverse(expected.begin(), expected.end());
    for (q.limit = 11; seen.size() <= expected.size();) {
      const auto page = p.need(p.store().events(q), what);
      for (const auto id : ids_of(page)) seen.push_back(id);
      if (page.size() < q.limit) break;
      q.after_id = page.back().id;
    }
    p.expect(seen == expected, what + ": pages give each event once, in order; found " + std::to_string(seen.size()) +
                                   " of " + std::to_string(expected.size()));
  };
  for (const bool back : {false, true}) {
    for (const char* session : {"", "session1", "nobody"}) {
      for (const char* sandbox : {"", "odd", "nobody"}) {
        for (const auto& types : {std::vector<std::string>{}, {"error"}, {"error", "command"}, {"unheard"}}) {
          event_query q;
          q.session_id = session;
          q.sandbox_id = sandbox;
          q.types = types;
          q.newest_first = back;
          check(q, std::string("session ") + session + ", sandbox " + sandbox + ", " + std::to_string(types.size()) +
                       " types" + (back ? ", back" : ""));
        }
      }
    }
  }
  event_query by_sequence;
  by_sequence.session_id = "session2";
  by_sequence.after_sequence = 95;
  const auto tail = p.need(p.store().events(by_sequence), "after sequence 95");
  p.expect(tail.size() == 5 && tail.front().sequence == 96 && tail.back().sequence == 100,
           "after_sequence resumes within the session");
  const auto first = p.need(p.store().events(event_query{}), "first page").front();
  const auto& e = all.front();
  p.expect(first.session_id == e.session_id && first.sandbox_id == e.sandbox_id && first.type == e.type &&
               first.time_us == e.time_us && first.duration_us == e.duration_us && first.data == e.data &&
               first.hash == e.hash && first.sequence == e.sequence,
           "an event comes back as it was");
  const auto head = p.need(p.store().head("session2"), "head");
  p.expect(head.sequence == 100 && head.hash == all.back().hash, "the head is the session's last event");
  p.expect(p.need(p.store().head("nobody"), "head of nothing").sequence == 0, "a session without events has no head");
  p.expect(p.need(p.store().last_event_id(), "last id") == 300, "the last id");
}

void keeps_events_in_order(storage_probe& p) {
  event_maker make;
  const auto first = make.make("s", "b", "command");
  auto second = make.make("s", "b", "command");
  p.need(p.store().commit(of({}, {first, second})), "two events");
  p.refused(p.store().commit(of({}, {second})), errc::conflict, "an event a second time");
  auto fork = second;
  fork.id = 10;
  p.refused(p.store().commit(of({}, {fork})), errc::conflict, "another event with a used sequence");
  auto gap = second;
  gap.id = 10;
  gap.sequence = 4;
  p.refused(p.store().commit(of({}, {gap})), errc::conflict, "an event that leaves a gap in its session");
  auto other = make.make("t", "b", "command");
  other.id = 2;
  p.refused(p.store().commit(of({}, {other})), errc::conflict, "an event of another session with a used id");
  auto third = second;
  third.id = 12;
  third.sequence = 3;
  p.need(p.store().commit(of({}, {third})), "the event that follows");
  p.expect(p.need(p.store().count_events(event_query{}), "count") == 3, "three events are stored");
}

// Parameters by value; nothing is captured.
task<void> count_up(storage* s, int times) {
  for (int i = 0; i < times;) {
    auto found = co_await s->get("counter", "c");
    if (!found) co_return found.error();
    const std::uint64_t version = *found ? (*found)->version : 0;
    const int n = *found ? (*found)->body.at("n").get<int>() : 0;
    batch b = of({put("counter", "c", number(n + 1), version)});
    auto done = co_await s->commit(std::move(b));
    if (done)
      ++i;
    else if (done.error().code != errc::conflict)
      co_return done.error();
  }
  co_return result<void>{};
}

void stands_concurrency(storage_probe& p) {
  std::vector<std::future<result<void>>> counting;
  for (int i = 0; i < 8; ++i) counting.push_back(p.begin(count_up(&p.store(), 25)));
  for (auto& c : counting) p.expect(p.wait(std::move(c), "counting").has_value(), "counting by compare and swap");
  const auto r = p.need(p.store().get("counter", "c"), "get the counter");
  p.expect(r && r->body == number(200) && r->version == 200, "no increment was lost or doubled");
}

void commits_in_order(storage_probe& p) {
  std::vector<std::future<result<void>>> writing;
  // Every third conflicts: it must fail alone, though it may share a transaction with its neighbours.
  for (int i = 0; i < 300; ++i) {
    auto w = i % 3 == 2 ? put("order", "o", number(i), 999) : put("order", "o", number(i));
    writing.push_back(
        p.begin_in_order(p.store().commit(of({std::move(w), put("order", "i" + std::to_string(i), number(i))}))));
  }
  for (int i = 0; i < 300; ++i) {
    const auto done = p.wait(std::move(writing[static_cast<std::size_t>(i)]), "commit in a crowd");
    p.expect(done.has_value() == (i % 3 != 2), "commit " + std::to_string(i) + " fails only by its own conflict");
    const auto mine = p.need(p.store().get("order", "i" + std::to_string(i)), "get");
    p.expect(mine.has_value() == (i % 3 != 2), "record " + std::to_string(i) + " is there when its commit answered so");
  }
  const auto r = p.need(p.store().get("order", "o"), "get the last");
  p.expect(r && r->body == number(298) && r->version == 200, "commits were applied in the order of the calls");
}

void outlives_reopening(storage_probe& p) {
  event_maker make;
  p.need(p.store().commit(of({put("k", "a", number(7))}, {make.make("s", "b", "command", number(7))})), "commit");
  p.reopen();
  const auto r = p.need(p.store().get("k", "a"), "get after reopening");
  p.expect(r && r->body == number(7) && r->version == 1, "the record outlives reopening");
  p.expect(p.need(p.store().last_event_id(), "last id") == 1, "the event outlives reopening");
  p.need(p.store().commit(of({put("k", "a", number(8), 1)}, {make.make("s", "b", "command", number(8))})),
         "commit after reopening");
  p.expect(p.need(p.store().head("s"), "head").sequence == 2, "the chain goes on");
}

// The beginning of a chain goes, the rest stays as it is, and totals know it; all or nothing like every write.
void cuts_events(storage_probe& p) {
  event_maker make;
  std::vector<event> events;
  for (int i = 0; i < 10; ++i) events.push_back(make.make("s", "b", i % 2 == 0 ? "command" : "error"));
  events.push_back(make.make("t", "b", "command"));
  p.need(p.store().commit(of({}, events)), "events");
  write cut = put("events", "s", std::uint64_t{4});
  cut.what = write::op::cut;
  p.refused(p.store().commit(of({cut, put("k", "a", number(1), 7)})), errc::conflict, "a batch that cannot be");
  event_query of_s;
  of_s.session_id = "s";
  p.expect(p.need(p.store().count_events(of_s), "count") == 10, "a refused cut drops nothing");
  p.need(p.store().commit(of({cut}, {make.make("s", "b", "error")})), "cut, with an event that follows");
  p.expect(p.need(p.store().count_events(of_s), "count") == 7, "what is left is counted");
  of_s.types = {"error"};
  p.expect(p.need(p.store().count_events(of_s), "count by type") == 4, "what is left is counted by type");
  of_s.types.clear();
  const auto left = p.need(p.store().events(of_s), "events");
  p.expect(left.size() == 7 && left.front().sequence == 5 && left.back().sequence == 11, "numbers stay as they were");
  p.expect(p.need(p.store().head("s"), "head").sequence == 11, "the chain's end stays");
  p.reopen();
  p.expect(p.need(p.store().count_events(of_s), "count") == 7, "a cut outlives reopening");
  p.need(p.store().commit(of({}, {make.make("s", "b", "error")})), "the chain goes on");
  cut.body = std::uint64_t{1000};
  p.need(p.store().commit(of({cut})), "cut of all");
  p.expect(p.need(p.store().count_events(of_s), "count") == 0, "nothing is left");
  p.expect(p.need(p.store().count_events(event_query{}), "count of all") == 1, "other sessions are not touched");
  cut.body = "4";
  p.refused(p.store().commit(of({cut})), errc::invalid_argument, "a cut at no number");
}

void refuses_when_closed(storage_probe& p) {
  p.need(p.store().close(), "close");
  p.need(p.store().close(), "close again");
  p.refused(p.store().commit(of({put("k", "a", number(1))})), errc::unavailable, "commit after close");
  p.refused(p.store().get("k", "a"), errc::unavailable, "get after close");
}

}  // namespace

const std::vector<storage_check>& storage_checks() {
  static const std::vector<storage_check> checks = {
      {"counts_versions", counts_versions},
      {"compares_versions", compares_versions},
      {"all_or_nothing", all_or_nothing},
      {"refuses_bad_input", refuses_bad_input},
      {"pages_records", pages_records},
      {"keeps_strange_names", keeps_strange_names},
      {"keeps_values", keeps_values},
      {"finds_events", finds_events},
      {"keeps_events_in_order", keeps_events_in_order},
      {"stands_concurrency", stands_concurrency},
      {"commits_in_order", commits_in_order},
      {"outlives_reopening", outlives_reopening},
      {"cuts_events", cuts_events},
      {"refuses_when_closed", refuses_when_closed},
  };
  return checks;
}

}  // namespace caged::testing
