// Ids, sequences and the hash chain: right when all goes well, and right after failures.
#include <gtest/gtest.h>

#include <SQLiteCpp/SQLiteCpp.h>
#include <cstdio>
#include <fstream>
#include <limits>

#include "core/journal/canonical.hpp"
#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

using journal::to_json;

TEST(chain, places_and_links_events) {
  world w;
  ASSERT_TRUE(w.start);
  const auto a = w.append(fact("s1"));
  const auto b = w.append(fact("s2"));
  const auto c = w.append(fact("s1"));
  EXPECT_EQ(a[0].id, 1u);
  EXPECT_EQ(b[0].id, 2u);
  EXPECT_EQ(c[0].id, 3u);
  EXPECT_EQ(b[0].sequence, 1u);
  EXPECT_EQ(c[0].sequence, 2u);
  EXPECT_GT(a[0].time_us, 1700000000000000);
  EXPECT_EQ(a[0].hash, journal::link_hash(a[0], journal::genesis_hash));
  EXPECT_EQ(c[0].hash, journal::link_hash(c[0], a[0].hash));
  EXPECT_EQ(w.verified("s1").events, 2u);
  EXPECT_EQ(w.verified("s1").head, c[0].hash);
  EXPECT_EQ(w.verified("nobody").events, 0u);
}

TEST(chain, the_canonical_text_is_what_the_document_says) {
  event e = fact("se\"ss", "command");
  e.id = 7;
  e.sequence = 3;
  e.sandbox_id = "cage-1";
  e.time_us = 1769850487000123;
  e.duration_us = 5;
  e.data = json::parse(R"({"b":[1,2.5,null],"a":"é\n"})");
  EXPECT_EQ(journal::canonical_text(e, std::string(64, 'a')),
            "[\"caged.event.1\",\"" + std::string(64, 'a') +
                "\",7,\"se\\\"ss\",3,\"cage-1\",\"command\",1769850487000123,5,{\"a\":\"é\\n\",\"b\":[1,2.5,null]}]");
}

TEST(chain, finds_the_session_of_a_sandbox) {
  world w;
  event e = fact("");
  EXPECT_EQ(w.append(e)[0].session_id, "host");
  e.sandbox_id = "cage-1";
  EXPECT_EQ(w.append(e)[0].session_id, "cage-1");
  w.log.set_current_session("cage-1", "sess-9");
  EXPECT_EQ(w.append(e)[0].session_id, "sess-9");
  EXPECT_EQ(w.log.current_session("cage-1"), "sess-9");
  w.log.set_current_session("cage-1", "");
  EXPECT_EQ(w.append(e)[0].session_id, "cage-1");
}

TEST(chain, goes_on_after_reopening) {
  world w;
  w.append(fact("s"));
  ASSERT_TRUE(w.l.run(w.log.close()));
  journal::journal again(w.l.executor(), w.store);
  ASSERT_TRUE(w.l.run(again.open()));
  auto more = w.l.run(again.append(facts(fact("s"))));
  ASSERT_TRUE(more);
  EXPECT_EQ((*more)[0].sequence, 2u);
  EXPECT_FALSE(w.l.run(again.verify("s"))->broken);
  ASSERT_TRUE(w.l.run(again.close()));
}

TEST(chain, a_conflict_fails_only_its_own_append) {
  for (const std::size_t threads : {1, 4}) {
    world w(threads);
    std::vector<std::future<result<std::vector<event>>>> pending;
    for (int i = 0; i < 300; ++i) {
      write change = one_record("r" + std::to_string(i), i).writes.front();
      if (i % 3 == 1) change.expect_version = 99;
      auto events = facts(fact("s" + std::to_string(i % 4)));
      pending.push_back(
          asio::co_spawn(w.l.executor(), w.log.append(std::move(events), writes(std::move(change))), asio::use_future));
    }
    for (int i = 0; i < 300; ++i) {
      auto done = pending[static_cast<std::size_t>(i)].get();
      EXPECT_EQ(done.has_value(), i % 3 != 1) << i;
      if (!done) {
        EXPECT_EQ(done.error().code, errc::conflict);
      }
    }
    const auto all = w.stored();
    ASSERT_EQ(all.size(), 200u);
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].id, i + 1) << "a failed append leaves no gap";
    std::uint64_t linked = 0;
    for (int s = 0; s < 4; ++s) {
      const auto v = w.verified("s" + std::to_string(s));
      EXPECT_FALSE(v.broken) << v.broken->what;
      linked += v.events;
    }
    EXPECT_EQ(linked, 200u);
  }
}

TEST(chain, stands_after_the_storage_failed) {
  world w;
  w.append(fact("s"));
  for (const errc code : {errc::insufficient_storage, errc::unavailable, errc::internal}) {
    w.store.failure = code;
    w.store.failures = 1;
    auto failed = w.l.run(w.log.append(facts(fact("s"))));
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, code);
    w.append(fact("s"));
  }
  const auto v = w.verified("s");
  EXPECT_EQ(v.events, 4u);
  EXPECT_FALSE(v.broken);
  EXPECT_EQ(w.stored().back().id, 4u);
}

TEST(chain, an_event_that_is_too_large_is_refused_alone) {
  world w;
  std::vector<event> events = facts(fact("s"));
  events.push_back(fact("s", "command", std::string(2 << 20, 'x')));
  auto refused = w.l.run(w.log.append(std::move(events)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::too_large);
  EXPECT_EQ(w.append(fact("s"))[0].sequence, 1u);
  EXPECT_FALSE(w.verified("s").broken);
}

TEST(chain, text_that_is_not_utf8_is_replaced_before_it_is_hashed) {
  world w;
  json data = json::object();
  data["output"] = "caf\xe9 \xff";
  data["\xfe"] = 1;
  data["\xfd"] = 2;  // both names become one
  w.append(fact("s", "command", data));
  EXPECT_FALSE(w.verified("s").broken);
  EXPECT_EQ(w.stored("s")[0].data["output"], "caf\xef\xbf\xbd \xef\xbf\xbd");
  auto bad_name = w.l.run(w.log.append(facts(fact("s\xff"))));
  EXPECT_TRUE(!bad_name || !w.verified(bad_name->front().session_id).broken);
}

TEST(chain, records_and_events_are_stored_together) {
  world w;
  auto done = w.l.run(w.log.append(facts(fact("s")), writes(one_record("a", 1).writes.front())));
  ASSERT_TRUE(done);
  EXPECT_TRUE(w.l.run(w.store.get("k", "a"))->has_value());
  auto only = w.l.run(w.log.append({}, writes(one_record("b", 1).writes.front())));
  ASSERT_TRUE(only);
  EXPECT_TRUE(only->empty());
  EXPECT_TRUE(w.l.run(w.store.get("k", "b"))->has_value());
  EXPECT_TRUE(w.l.run(w.log.append({}))) << "nothing at all is fine";
}

TEST(chain, a_changed_row_is_named) {
  world w;
  for (int i = 0; i < 1200; ++i) w.log.publish(fact("s", "command", i));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  EXPECT_EQ(w.verified("s").events, 1200u);
  const auto tamper = [&w](const std::string& sql) {
    SQLite::Database db((w.dir.path() / "caged.db").string(), SQLite::OPEN_READWRITE, 5000);
    db.exec(sql);
  };
  tamper("UPDATE events SET data = '4711' WHERE id = 777");
  auto v = w.verified("s");
  ASSERT_TRUE(v.broken);
  EXPECT_EQ(v.broken->sequence, 777u);
  EXPECT_EQ(v.events, 776u);
  EXPECT_NE(v.broken->what.find("hash"), std::string::npos);
  tamper("UPDATE events SET data = '776' WHERE id = 777");
  EXPECT_FALSE(w.verified("s").broken);
  tamper("DELETE FROM events WHERE id = 600");
  v = w.verified("s");
  ASSERT_TRUE(v.broken);
  EXPECT_EQ(v.broken->sequence, 601u);
}

TEST(chain, a_third_party_can_verify_it) {
  world w;
  std::string controls;
  for (int c = 0; c < 128; ++c) controls += static_cast<char>(c);
  const std::vector<json> values = {nullptr,
                                    true,
                                    0,
                                    -5,
                                    1.5,
                                    0.1,
                                    1e300,
                                    std::numeric_limits<std::uint64_t>::max(),
                                    controls,
                                    "\xf0\x9f\x90\x8d \xe2\x80\xa8",
                                    json::array({1, "x"}),
                                    json::parse(R"({"z":1,"a":{"é":2,"e":3},"":[]})")};
  for (const auto& v : values) w.append(fact("s", "command", v));
  const auto lines = w.dir.path() / "events.jsonl";
  const auto answer = [&]() {
    std::ofstream out(lines);
    for (const auto& e : w.stored("s")) out << to_text(to_json(e)) << "\n";
    out.close();
    const std::string command = "python3 " CAGED_CHAIN_CHECKER " < " + lines.string();
    FILE* pipe = ::popen(command.c_str(), "r");
    char text[100] = {};
    if (pipe != nullptr) {
      (void)!std::fgets(text, sizeof text, pipe);
      ::pclose(pipe);
    }
    return std::string(text);
  };
  EXPECT_EQ(answer(), "ok " + std::to_string(values.size()) + "\n");
  SQLite::Database((w.dir.path() / "caged.db").string(), SQLite::OPEN_READWRITE, 5000)
      .exec("UPDATE events SET time_us = 1 WHERE id = 3");
  EXPECT_EQ(answer(), "broken at 3\n");
}

TEST(chain, a_closed_journal_takes_nothing) {
  world w;
  ASSERT_TRUE(w.l.run(w.log.close()));
  ASSERT_TRUE(w.l.run(w.log.close()));
  auto refused = w.l.run(w.log.append(facts(fact("s"))));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::unavailable);
  w.log.publish(fact("s"));
  EXPECT_EQ(w.log.stats().dropped, 1u);
}

}  // namespace
}  // namespace caged::testing
