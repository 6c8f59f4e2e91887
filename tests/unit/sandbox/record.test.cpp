#include <gtest/gtest.h>

#include "core/meter/compute_price.hpp"
#include "core/sandbox/exec.hpp"
#include "core/sandbox/record.hpp"

namespace caged::sandbox {
namespace {

constexpr state every[] = {state::pending, state::running, state::paused,
                           state::stopped, state::error,   state::destroyed};

TEST(State, OnlyTheDocumentedStepsAreAllowed) {
  std::set<std::pair<state, state>> allowed{{state::pending, state::running}, {state::pending, state::error},
                                            {state::running, state::paused},  {state::paused, state::running},
                                            {state::running, state::stopped}, {state::paused, state::stopped},
                                            {state::running, state::error},   {state::paused, state::error}};
  for (const state s : every)
    if (s != state::destroyed) allowed.insert({s, state::destroyed});
  for (const state from : every)
    for (const state to : every)
      EXPECT_EQ(may_become(from, to), allowed.contains({from, to})) << to_string(from) << " → " << to_string(to);
}

TEST(State, NamesRoundTrip) {
  for (const state s : every) EXPECT_EQ(parse_state(to_string(s)), s);
  EXPECT_FALSE(parse_state("unset"));
  EXPECT_FALSE(parse_state("creating"));
}

TEST(Record, StoresAndReadsBackEverything) {
  record r;
  r.id = "cage-1";
  r.name = "näme";
  r.template_name = "host";
  r.backend = "jail";
  r.cpus = 1.5;
  r.memory_mb = 1024;
  r.disk_gb = 3;
  r.timeout_s = 60;
  r.budget_micro = 5'000'000;
  r.env = {{"A", "1,2=3"}};
  r.repo = {"https://example.org/x.git", "main", "abc", "sub"};
  r.status = state::paused;
  r.failure = fail(errc::limit_exceeded, "out_of_memory", "m", "a");
  r.running_total_us = 12;
  r.walls = {"userns"};
  const record back = from_stored(json::parse(to_stored(r).dump()));
  EXPECT_EQ(to_stored(back), to_stored(r));
  EXPECT_EQ(back.failure->code, errc::limit_exceeded);
  EXPECT_EQ(back.env.at("A"), "1,2=3");
}

TEST(Record, ShowsWholeProcessorsAsIntegersAndNoSecrets) {
  record r;
  r.cpus = 2;
  EXPECT_TRUE(to_api(r, 0)["cpus"].is_number_integer());
  r.cpus = 0.5;
  EXPECT_EQ(to_api(r, 0)["cpus"], 0.5);
  EXPECT_TRUE(to_api(r, 0)["budget"].is_null());
}

TEST(Cost, CountsRunningTimeOnly) {
  record r;
  r.cpus = 2;
  r.memory_mb = 1024;
  r.disk_gb = 5;
  r.running_total_us = 1'800'000'000;   // half an hour
  r.running_since_us = 10'000'000'000;
  // 2 × $0.01 + 1 × $0.005 + 5 × $0.001 an hour.
  EXPECT_DOUBLE_EQ(to_api(r, 10'000'000'000 + 1'800'000'000)["cost"].get<double>(), 0.03);
  r.running_since_us = 0;
  EXPECT_DOUBLE_EQ(to_api(r, 99'000'000'000)["cost"].get<double>(), 0.015);
}

TEST(Cost, NeverFallsAndNeverOverflows) {
  const meter::compute_size largest{8000, 8192, 50};
  std::int64_t last = 0;
  for (std::int64_t us = 0; us < 10'000'000'000; us += 77'777'777) {
    const auto cost = meter::compute_cost_micro({}, largest, us);
    EXPECT_GE(cost, last);
    last = cost;
  }
  EXPECT_GT(meter::compute_cost_micro({}, largest, std::int64_t{100'000} * 365 * 86'400 * 1'000'000 / 100), 0);
  EXPECT_EQ(meter::compute_cost_micro({}, largest, -5), 0);
}

TEST(Utf8, KnowsGoodFromBad) {
  for (const char* good : {"", "abc", "é", "€", "😀", "\x7f"}) EXPECT_TRUE(is_utf8(good)) << good;
  for (std::string_view bad :
       {"\xff", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xf0\x80\x80\x80", "a\x80", "\xc3"})
    EXPECT_FALSE(is_utf8(bad));
  EXPECT_EQ(to_utf8("ok"), "ok");
  EXPECT_EQ(to_utf8("a\xff"
                    "b"),
            "a\xEF\xBF\xBD"
            "b");
}

}  // namespace
}  // namespace caged::sandbox
