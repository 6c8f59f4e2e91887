#include <random>
#include <thread>

#include "core/meter/ledger.hpp"
#include "core/meter/usage.hpp"

namespace caged::meter {
namespace {

TEST(Ledger, RefusesWhatDoesNotFitAndSaysWhy) {
  ledger l;
  const std::vector<purse> from{{"sandbox:a", 1000, 100}, {"account:local", 0, 0}};
  EXPECT_EQ(l.reserve(from, -1).error().reason, "bad_amount");
  EXPECT_EQ(l.reserve(from, 901).error().reason, "budget_exhausted");
  auto held = l.reserve(from, 600);
  ASSERT_TRUE(held);
  EXPECT_EQ(l.reserve(from, 301).error().reason, "budget_busy");
  EXPECT_EQ(l.room(from), 300);
  EXPECT_TRUE(l.settle(held->id, 50));
  EXPECT_FALSE(l.settle(held->id, 50)) << "settled twice";
  EXPECT_EQ(l.of("sandbox:a").spent, 50);
  EXPECT_EQ(l.of("account:local").spent, 50);
  EXPECT_EQ(l.room(from), 850);
}

TEST(Ledger, EveryPurseCountsAndNoneIsChangedByARefusal) {
  ledger l;
  EXPECT_TRUE(l.reserve({{"sandbox:a", 0}, {"account:local", 100}}, 80));
  EXPECT_FALSE(l.reserve({{"sandbox:b", 1000}, {"account:local", 100}}, 30));
  EXPECT_EQ(l.of("sandbox:b").reserved, 0);
  EXPECT_EQ(l.room({{"sandbox:a", 0}}), -1) << "no cap, no bound";
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  EXPECT_FALSE(l.reserve({{"sandbox:c", most, most}}, 1));
  EXPECT_EQ(l.reserve({{"sandbox:d", 5, most}}, 1).error().reason, "budget_exhausted");
}

// Whatever the order of reservations and settlements: no purse is ever over its cap, and sums agree.
TEST(Ledger, NoSequencePassesACap) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    ledger l;
    const std::int64_t caps[2] = {static_cast<std::int64_t>(random() % 1000 + 1),
                                  static_cast<std::int64_t>(random() % 1500 + 1)};
    std::vector<held_reservation> open;
    std::int64_t spent = 0;
    for (int step = 0; step < 200; ++step) {
      if (open.empty() || random() % 2 == 0) {
        auto held = l.reserve({{"a", caps[0]}, {"b", caps[1]}}, static_cast<std::int64_t>(random() % 300));
        if (held) open.push_back(*held);
      } else {
        const auto at = random() % open.size();
        const auto cost = open[at].amount == 0 ? 0 : static_cast<std::int64_t>(random() % (open[at].amount + 1));
        ASSERT_TRUE(l.settle(open[at].id, cost));
        spent += cost;
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
      }
      const auto a = l.of("a");
      ASSERT_LE(a.spent + a.reserved, std::min(caps[0], caps[1]));
      ASSERT_EQ(a.spent, spent);
    }
    for (const auto& held : open) l.settle(held.id, held.amount);
    ASSERT_EQ(l.of("b").reserved, 0);
    ASSERT_EQ(l.open(), 0u);
  }
}

TEST(Ledger, SixtyFourSpendersInParallelNeverPassTheCap) {
  ledger l;
  const std::vector<purse> from{{"sandbox:a", 100'000}};
  std::atomic<std::int64_t> worst{0};
  std::vector<std::thread> spenders;
  for (int i = 0; i < 64; ++i)
    spenders.emplace_back([&l, &from, &worst, i] {
      for (int n = 0; n < 200; ++n) {
        auto held = l.reserve(from, 10 + i);
        const auto now = l.of("sandbox:a");
        if (now.spent + now.reserved > worst) worst = now.spent + now.reserved;
        if (held) l.settle(held->id, held->amount);
      }
    });
  for (auto& s : spenders) s.join();
  EXPECT_LE(worst, 100'000);
  EXPECT_LE(l.of("sandbox:a").spent, 100'000);
  EXPECT_GT(l.of("sandbox:a").spent, 99'900);
}

TEST(UsageBook, SumsCallsByDaySandboxSessionAndModel) {
  usage_book book;
  const json fact{{"provider", "p"}, {"model", "m"}, {"cost_micros", 5}, {"tokens", {{"input", 3}, {"output", 2}}}};
  const auto id = book.add(1'700'000'000'000'000, "cage-a", "sess-a", fact);
  EXPECT_EQ(book.add(1'700'000'001'000'000, "cage-a", "sess-a", fact), id);
  EXPECT_NE(book.add(1'700'100'000'000'000, "cage-a", "sess-a", fact), id);
  const auto& row = book.row(id);
  EXPECT_EQ(row.day, "2023-11-14");
  EXPECT_EQ(row.calls, 2);
  EXPECT_EQ(row.cost_micro, 10);
  EXPECT_EQ(row.input, 6);
  EXPECT_EQ(to_stored(usage_from_stored(to_stored(row))), to_stored(row));
}

}  // namespace
}  // namespace caged::meter
