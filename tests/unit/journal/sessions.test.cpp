// Session records and the chains they name.
#include <gtest/gtest.h>

#include "core/journal/sessions.hpp"
#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

using journal::session_end;
using journal::sessions;

TEST(sessions, start_collect_events_and_end) {
  world w;
  sessions all(w.log, w.store);
  auto started = w.l.run(all.start("cage-1", "claude"));
  ASSERT_TRUE(started) << describe(started.error());
  EXPECT_EQ(started->id.rfind("sess-", 0), 0u);
  EXPECT_EQ(started->status, "active");
  event e = fact("");
  e.sandbox_id = "cage-1";
  EXPECT_EQ(w.append(e)[0].session_id, started->id);
  EXPECT_EQ(w.l.run(all.get(started->id))->event_count, 2u);
  auto ended = w.l.run(all.end(started->id, session_end::completed));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->status, "completed");
  EXPECT_EQ(ended->event_count, 3u);
  EXPECT_EQ(w.log.current_session("cage-1"), "");
  const json shown = journal::to_json(*ended);
  EXPECT_EQ(shown.at("agent_type"), "claude");
  EXPECT_TRUE(shown.at("ended_at").is_string());
  EXPECT_GE(shown.at("duration_ms").get<std::int64_t>(), 0);
  EXPECT_FALSE(w.verified(started->id).broken);
}

TEST(sessions, refuse_what_cannot_be) {
  world w;
  sessions all(w.log, w.store);
  auto missing = w.l.run(all.get("sess-none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "session_not_found");
  EXPECT_FALSE(w.l.run(all.end("sess-none", session_end::failed)));
  auto s = w.l.run(all.start("cage-1", "")).value();
  ASSERT_TRUE(w.l.run(all.end(s.id, session_end::failed)));
  auto twice = w.l.run(all.end(s.id, session_end::completed));
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, errc::conflict);
  EXPECT_EQ(w.l.run(all.get(s.id))->status, "failed");
}

TEST(sessions, are_listed_and_restored) {
  world w;
  sessions all(w.log, w.store);
  std::vector<std::string> of_one;
  for (int i = 0; i < 10; ++i) {
    auto s = w.l.run(all.start(i % 2 == 0 ? "cage-1" : "cage-2", "")).value();
    if (i % 2 == 0) of_one.push_back(s.id);
    if (i == 8) continue;
    ASSERT_TRUE(w.l.run(all.end(s.id, session_end::completed)));
  }
  std::reverse(of_one.begin(), of_one.end());
  std::vector<std::string> listed;
  for (const auto& s : w.l.run(all.page("cage-1", 0, 3)).value()) listed.push_back(s.id);
  for (const auto& s : w.l.run(all.page("cage-1", 3, 10)).value()) listed.push_back(s.id);
  EXPECT_EQ(listed, of_one);
  EXPECT_EQ(w.l.run(all.page("", 0, 100))->size(), 10u);
  EXPECT_EQ(all.count("cage-2"), 5u);
  ASSERT_TRUE(w.l.run(all.forget(listed.back())));
  EXPECT_EQ(all.count("cage-1"), 4u);
  EXPECT_FALSE(w.l.run(all.get(listed.back())));
  const std::string current = w.log.current_session("cage-1");
  w.log.set_current_session("cage-1", "");
  sessions again(w.log, w.store);
  ASSERT_TRUE(w.l.run(again.restore()));
  EXPECT_EQ(again.count(""), 9u);
  EXPECT_EQ(w.log.current_session("cage-1"), current);
  EXPECT_EQ(w.log.current_session("cage-2"), "");
}

}  // namespace
}  // namespace caged::testing
