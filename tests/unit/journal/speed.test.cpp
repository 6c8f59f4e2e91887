// How fast events are stored; printed, for docs/specification.md. The bounds here only catch a collapse: machines and
// build types differ.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "tests/unit/journal/world.hpp"

namespace caged::testing {
namespace {

double seconds_of(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

TEST(speed, published_events) {
  constexpr int count = 100000;
  journal::options o;
  o.queue_events = count;
  world w(1, o);
  std::vector<event> prepared;
  for (int i = 0; i < count; ++i) {
    event e = fact("sess-" + std::to_string(i % 10), "command");
    e.sandbox_id = "cage-" + std::to_string(i % 10);
    e.data["argv"] = json::array({"cc", "-c", "file" + std::to_string(i) + ".c"});
    e.data["pid"] = i;
    prepared.push_back(std::move(e));
  }
  const double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  for (auto& e : prepared) w.log.publish(std::move(e));
  ASSERT_TRUE(w.l.run(w.log.flush()));
  const double took = seconds_of(CLOCK_MONOTONIC) - wall, used = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  EXPECT_EQ(w.log.stats().committed, static_cast<std::uint64_t>(count));
  std::printf("journal: %.0f events/s wall, %.0f events per second of processor time\n", count / took, count / used);
  EXPECT_LT(used, 60) << "100,000 events";
}

// Parameters by value; nothing is captured.
task<std::vector<double>> append_one_by_one(journal::journal* log, int count) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    auto events = facts(fact("s", "command", i));
    const double begin = seconds_of(CLOCK_MONOTONIC);
    auto done = co_await log->append(std::move(events));
    if (!done) co_return done.error();
    times.push_back((seconds_of(CLOCK_MONOTONIC) - begin) * 1e6);
  }
  co_return times;
}

TEST(speed, one_append_after_the_other) {
  world w;
  auto times = w.l.run(append_one_by_one(&w.log, 1000));
  ASSERT_TRUE(times);
  std::sort(times->begin(), times->end());
  std::printf("journal: append answered after %.0f us (p50), %.0f us (p99)\n", (*times)[500], (*times)[990]);
  EXPECT_LT((*times)[500], 50000);
}

// Pages of a long session: 100,000 events every day, a million with CAGED_SOAK_MINUTES.
TEST(speed, pages_of_a_long_session) {
  const std::uint64_t count = std::getenv("CAGED_SOAK_MINUTES") != nullptr ? 1'000'000 : 100'000;
  world w;
  std::uint64_t id = 0;
  while (id < count) {
    batch b;
    for (int i = 0; i < 10'000; ++i) {
      event e = fact("long", ++id % 1000 == 0 ? "error" : "command", {{"n", id}});
      e.id = e.sequence = id;
      e.sandbox_id = "cage-1";
      e.time_us = static_cast<std::int64_t>(id);
      e.hash = std::string(64, 'a');
      b.events.push_back(std::move(e));
    }
    ASSERT_TRUE(w.l.run(w.store.commit(std::move(b))));
  }
  const auto timed = [&](std::uint64_t after, std::vector<std::string> types) {
    double best = 1e9;
    for (int i = 0; i < 20; ++i) {
      event_query q;
      q.session_id = "long";
      q.after_sequence = after;
      q.limit = 100;
      event_query whole;
      whole.session_id = "long";
      whole.types = types;
      const double begin = seconds_of(CLOCK_MONOTONIC);
      const auto page = w.l.run(w.store.events(std::move(q)));
      const auto total = w.l.run(w.store.count_events(std::move(whole)));
      best = std::min(best, seconds_of(CLOCK_MONOTONIC) - begin);
      EXPECT_EQ(page.value().size(), 100u);
      EXPECT_EQ(total.value(), types.empty() ? count : count / 1000);
    }
    return best * 1e6;
  };
  const double first = timed(0, {}), last = timed(count - 100, {}), counted = timed(0, {"error"});
  std::printf("journal: a page and its total of a session of %llu events: first %.0f us, last %.0f us, total by type %.0f us\n",
              static_cast<unsigned long long>(count), first, last, counted);
  EXPECT_LT(last, 10 * first);
  EXPECT_LT(counted, 10 * first);
}

}  // namespace
}  // namespace caged::testing
