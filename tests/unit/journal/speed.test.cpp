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

}  // namespace
}  // namespace caged::testing
