// Retention: the beginning of a chain goes, and what is left can still be checked to the last link.
#include <gtest/gtest.h>

#include <SQLiteCpp/SQLiteCpp.h>

#include "core/journal/retention.hpp"
#include "core/journal/verify.hpp"
#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

std::vector<event> fill(world& w, int count) {
  std::vector<event> all;
  for (int i = 0; i < count; ++i) {
    event e = fact("s1", "command", {{"i", i}});
    e.time_us = 1'700'000'000'000'000 + i;
    all.push_back(w.append(std::move(e))[0]);
  }
  return all;
}

TEST(retention, cuts_by_time_and_the_chain_still_holds) {
  world w;
  const auto all = fill(w, 20);
  auto dropped = w.l.run(journal::drop_before(&w.log, &w.store, "s1", all[12].time_us));
  ASSERT_TRUE(dropped) << describe(dropped.error());
  EXPECT_EQ(*dropped, 12u);
  auto v = w.verified("s1");
  EXPECT_FALSE(v.broken);
  EXPECT_EQ(v.dropped, 12u);
  EXPECT_EQ(v.events, 8u);
  EXPECT_EQ(v.head, all.back().hash);
  // Again, and further; then all but the last.
  EXPECT_EQ(*w.l.run(journal::drop_before(&w.log, &w.store, "s1", all[12].time_us)), 0u);
  EXPECT_EQ(*w.l.run(journal::drop_before(&w.log, &w.store, "s1", INT64_MAX)), 7u);
  v = w.verified("s1");
  EXPECT_FALSE(v.broken);
  EXPECT_EQ(v.dropped + v.events, 20u);
  EXPECT_EQ(v.events, 1u);
  // The chain goes on, and the host's own vouches for the anchor.
  EXPECT_EQ(w.append(fact("s1"))[0].sequence, 21u);
  EXPECT_FALSE(w.verified("s1").broken);
  const auto host = w.stored(journal::host_session);
  ASSERT_FALSE(host.empty());
  EXPECT_EQ(host.back().data["anchor"]["hash"], all[18].hash);
  EXPECT_FALSE(w.verified(journal::host_session).broken);
}

TEST(retention, a_wrong_anchor_or_a_missing_event_breaks_the_chain) {
  world w;
  const auto all = fill(w, 10);
  ASSERT_TRUE(w.l.run(journal::drop_before(&w.log, &w.store, "s1", all[4].time_us)));
  write forged;
  forged.kind = journal::anchor_kind;
  forged.id = "s1";
  forged.body = {{"sequence", 4}, {"hash", std::string(64, '0')}, {"event_id", all[3].id}};
  batch b;
  b.writes.push_back(forged);
  ASSERT_TRUE(w.l.run(w.store.commit(std::move(b))));
  auto v = w.verified("s1");
  ASSERT_TRUE(v.broken);
  EXPECT_EQ(v.broken->sequence, 5u);
  // Somebody dropped one more than the anchor says.
  write anchor = forged;
  anchor.body = {{"sequence", 4}, {"hash", all[3].hash}, {"event_id", all[3].id}};
  write cut;
  cut.what = write::op::cut;
  cut.kind = "events";
  cut.id = "s1";
  cut.body = std::uint64_t{5};
  batch more;
  more.writes = {anchor, cut};
  ASSERT_TRUE(w.l.run(w.store.commit(std::move(more))));
  v = w.verified("s1");
  ASSERT_TRUE(v.broken);
  EXPECT_EQ(v.broken->sequence, 6u);
  EXPECT_NE(v.broken->what.find("expected number 5"), std::string::npos) << v.broken->what;
}

TEST(retention, a_forgotten_session_leaves_nothing) {
  world w;
  fill(w, 5);
  ASSERT_TRUE(w.l.run(journal::drop_before(&w.log, &w.store, "s1", INT64_MAX)));
  ASSERT_TRUE(w.l.run(journal::drop_session(&w.log, "s1", {})));
  EXPECT_TRUE(w.stored("s1").empty());
  EXPECT_FALSE(w.l.run(w.store.get(journal::anchor_kind, "s1")).value());
  EXPECT_GT(w.l.run(w.store.last_event_id()).value(), 5u) << "ids are never used again";
}

}  // namespace
}  // namespace caged::testing
