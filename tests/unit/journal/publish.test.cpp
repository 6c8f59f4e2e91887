// Fire and forget: bounded, ordered, and what is lost is told.
#include <gtest/gtest.h>

#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

TEST(publish, keeps_the_order_of_each_caller) {
  world w(4);
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&w, c] {
      for (int i = 0; i < 500; ++i) w.log.publish(fact("s" + std::to_string(c), "command", i));
    });
  }
  for (auto& t : callers) t.join();
  ASSERT_TRUE(w.l.run(w.log.flush()));
  for (int c = 0; c < 4; ++c) {
    const auto events = w.stored("s" + std::to_string(c));
    ASSERT_EQ(events.size(), 500u);
    for (int i = 0; i < 500; ++i) EXPECT_EQ(events[static_cast<std::size_t>(i)].data, i);
    EXPECT_FALSE(w.verified("s" + std::to_string(c)).broken);
  }
  EXPECT_EQ(w.log.stats().committed, 2000u);
  EXPECT_EQ(w.log.stats().dropped, 0u);
}

TEST(publish, a_full_queue_drops_and_says_so) {
  journal::options o;
  o.queue_events = 100;
  world w(1, o);
  w.store.held = true;
  for (int i = 0; i < 1000; ++i) {
    event e = fact("s" + std::to_string(i % 2));
    e.sandbox_id = "cage-1";
    w.log.publish(e);
  }
  const auto dropped = w.log.stats().dropped;
  EXPECT_GE(dropped, 500u);
  w.store.held = false;
  ASSERT_TRUE(w.l.run(w.log.flush()));
  std::uint64_t told = 0, kept = 0;
  for (const auto& e : w.stored()) {
    if (e.type != "error") {
      ++kept;
      continue;
    }
    EXPECT_EQ(e.data.at("reason"), "events_dropped");
    EXPECT_EQ(e.data.at("cause"), "queue_full");
    EXPECT_EQ(e.sandbox_id, "cage-1");
    told += e.data.at("count").get<std::uint64_t>();
  }
  EXPECT_EQ(told, dropped);
  EXPECT_EQ(kept + told, 1000u) << "each event is stored or told of";
  EXPECT_FALSE(w.verified("s0").broken);
  EXPECT_FALSE(w.verified("s1").broken);
}

TEST(publish, bytes_are_bounded_too) {
  journal::options o;
  o.queue_bytes = 100000;
  world w(1, o);
  w.store.held = true;
  for (int i = 0; i < 50; ++i) w.log.publish(fact("s", "command", std::string(10000, 'x')));
  EXPECT_GT(w.log.stats().dropped, 20u);
  w.store.held = false;
}

TEST(publish, events_that_could_not_be_stored_are_told_of_later) {
  world w;
  w.store.failures = 2;
  w.log.publish(fact("s"));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  EXPECT_EQ(w.log.stats().dropped, 1u);
  while (w.store.failures > 0) ASSERT_TRUE(w.l.run(w.log.flush()));
  w.append(fact("s"));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  std::uint64_t told = 0;
  for (const auto& e : w.stored("s")) {
    if (e.type == "error") told += e.data.at("count").get<std::uint64_t>();
  }
  EXPECT_EQ(told, 1u);
  EXPECT_EQ(w.log.stats().dropped, 1u) << "a note that failed is not counted as another loss";
}

TEST(publish, a_huge_event_is_kept_without_its_content) {
  world w;
  w.log.publish(fact("s", "file_op", std::string(3 << 20, 'x')));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  const auto events = w.stored("s");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, "file_op");
  EXPECT_TRUE(events[0].data.at("truncated").get<bool>());
  EXPECT_GT(events[0].data.at("bytes").get<std::uint64_t>(), 3u << 20);
}

TEST(publish, made_up_sessions_do_not_fill_the_memory) {
  journal::options o;
  o.queue_events = 1;
  world w(1, o);
  w.store.held = true;
  for (int i = 0; i < 5000; ++i) w.log.publish(fact("made-up-" + std::to_string(i)));
  w.store.held = false;
  ASSERT_TRUE(w.l.run(w.log.flush()));
  std::uint64_t told = 0, notes = 0;
  for (const auto& e : w.stored()) {
    if (e.type != "error") continue;
    ++notes;
    told += e.data.at("count").get<std::uint64_t>();
  }
  // At most about a thousand sessions are remembered at a time; a slow machine may store them in a few rounds.
  EXPECT_LT(notes, 2500u);
  EXPECT_EQ(told, w.log.stats().dropped);
}

TEST(publish, secrets_are_redacted) {
  world w;
  EXPECT_FALSE(w.log.add_secret("short"));
  ASSERT_TRUE(w.log.add_secret("hunter2-hunter2"));
  ASSERT_TRUE(w.log.add_secret("hunter2-hunter2-and-more"));
  ASSERT_TRUE(w.log.add_secret("hunter2-hunter2"));
  const json data = json::parse(
      R"({"env":["A=hunter2-hunter2","hunter2-hunter2-and-more!"],"hunter2-hunter2":{"n":1},"ok":"hunter2"})");
  w.append(fact("s", "command", data));
  w.log.publish(fact("s", "command", data));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  for (const auto& e : w.stored("s"))
    EXPECT_EQ(e.data, json::parse(R"({"env":["A=[redacted]","[redacted]!"],"[redacted]":{"n":1},"ok":"hunter2"})"));
  w.log.remove_secret("hunter2-hunter2");
  EXPECT_EQ(w.append(fact("s", "command", "hunter2-hunter2"))[0].data, "[redacted]") << "it was registered twice";
  w.log.remove_secret("hunter2-hunter2");
  EXPECT_EQ(w.append(fact("s", "command", "hunter2-hunter2"))[0].data, "hunter2-hunter2");
}

}  // namespace
}  // namespace caged::testing
