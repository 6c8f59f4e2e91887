// The books of billing.ledger under failures: whatever happens between, each micro-dollar is posted once.
#include <caged/testing/fakes.hpp>
#include <random>

#include "core/meter/reporter.hpp"
#include "plugins/billing/ledger/ledger.hpp"
#include "tests/unit/storage/world.hpp"

namespace caged::meter {
namespace {

using testing::fake_host;

// A real storage whose commits fail at times: before anything is stored, or with only the answer lost.
class unreliable : public storage {
 public:
  explicit unreliable(storage& s) : inner_(s) {}
  task<void> commit(batch b) override {
    const auto luck = random_() % 4;
    if (calm) co_return co_await inner_.commit(std::move(b));
    if (luck == 0) co_return fail(errc::unavailable, "lost", "nothing was stored");
    auto done = co_await inner_.commit(std::move(b));
    if (done && luck == 1) co_return fail(errc::unavailable, "lost", "stored, but nobody was told");
    co_return done;
  }
  task<std::optional<record>> get(std::string kind, std::string id) override { return inner_.get(kind, id); }
  task<std::vector<record>> list(std::string kind, std::string after, std::size_t limit) override {
    return inner_.list(kind, after, limit);
  }
  task<std::vector<event>> events(event_query q) override { return inner_.events(q); }
  task<std::uint64_t> count_events(event_query q) override { return inner_.count_events(q); }
  task<std::uint64_t> last_event_id() override { return inner_.last_event_id(); }
  task<chain_head> head(std::string session) override { return inner_.head(session); }

  bool calm = false;

 private:
  storage& inner_;
  std::mt19937 random_{11};
};

TEST(Billing, NoSequenceOfFailuresAndRestartsPostsTwiceOrLoses) {
  testing::folder at;
  fake_host host;  // before the storage: its last thread answers here until it has ended
  storage_sqlite::sqlite_storage real(testing::settings_in(at.path()));
  ASSERT_TRUE(host.run(real.open()));
  unreliable records(real);
  host.add_service<storage>(&records);
  std::mt19937 random(3);
  usage_book book;
  auto provider = std::make_unique<billing::ledger::double_entry>(host, json::object());
  ASSERT_TRUE(host.run(provider->open()));
  reporter r;
  const auto connect = [&] {
    reporter::parts parts;
    parts.providers["ledger"] = provider.get();
    parts.book = &book;
    parts.log = [](log_level, std::string) {};
    r = reporter();
    r.connect(std::move(parts));
  };
  connect();
  for (int step = 0; step < 400; ++step) {
    const std::string box = "cage-" + std::to_string(random() % 3), session = "sess-" + std::to_string(random() % 3);
    const std::string day = "2026-01-0" + std::to_string(1 + random() % 3);
    if (random() % 2 == 0) {
      book.add_own(day, box, session, random() % 2 == 0 ? "compute" : "egress", 1000, static_cast<std::int64_t>(random() % 50));
    } else {
      book.add(1'767'225'600'000'000, box, session, {{"provider", "p"}, {"model", "m"}, {"cost_micros", random() % 99}});
    }
    if (random() % 3 == 0) (void)host.run(r.round());
    if (random() % 25 != 0) continue;
    // The host dies: the rows come back from where they are stored, and so do the books.
    usage_book again;
    for (const auto& [id, row] : book.rows()) again.load(id, usage_from_stored(to_stored(row)));
    book = std::move(again);
    provider = std::make_unique<billing::ledger::double_entry>(host, json::object());
    ASSERT_TRUE(host.run(provider->open()));
    connect();
  }
  records.calm = true;
  (void)host.run(r.round());  // may find that an answer was lost; the next one posts the rest
  auto last = host.run(r.round());
  ASSERT_TRUE(last) << describe(last.error());
  auto statement = host.run(provider->statement("2026-01-01", "2026-01-31"));
  ASSERT_TRUE(statement);
  EXPECT_EQ((*statement)["total_micro"], book.total().total());
  EXPECT_EQ((*statement)["balanced"], true) << statement->dump(2);
  std::int64_t days = 0;
  for (const auto& row : (*statement)["days"]) days += row["amount_micro"].get<std::int64_t>();
  EXPECT_EQ(days, book.total().total());
  // A part of the days is a part of the money.
  auto first = host.run(provider->statement("2026-01-01", "2026-01-01"));
  ASSERT_TRUE(first);
  std::int64_t expected = 0;
  for (const auto& [id, row] : book.rows())
    if (row.day == "2026-01-01") expected += row.cost_micro;
  EXPECT_EQ((*first)["total_micro"], expected);
  provider.reset();
  ASSERT_TRUE(host.run(real.close()));
}

TEST(Billing, ALineThatShrankIsRefusedAndSaid) {
  testing::folder at;
  fake_host host;  // before the storage: its last thread answers here until it has ended
  storage_sqlite::sqlite_storage real(testing::settings_in(at.path()));
  ASSERT_TRUE(host.run(real.open()));
  host.add_service<storage>(&real);
  billing::ledger::double_entry books(host, json::object());
  ASSERT_TRUE(host.run(books.open()));
  usage_line line{"2026-01-01|a|b|caged|compute", "local", "2026-01-01", "a", "b", "compute", "", 10, 10};
  ASSERT_TRUE(host.run(books.report({line})));
  line.amount_micro = 5;
  ASSERT_TRUE(host.run(books.report({line})));
  EXPECT_NE(host.logged().find("smaller"), std::string::npos);
  EXPECT_EQ((*host.run(books.statement("2026-01-01", "2026-01-01")))["total_micro"], 10);
  ASSERT_TRUE(host.run(real.close()));
}

TEST(UsageBook, TimeIsCutAtMidnight) {
  const std::int64_t midnight = 1'767'225'600'000'000;  // 2026-01-01
  EXPECT_TRUE(by_day(midnight, midnight).empty());
  EXPECT_TRUE(by_day(midnight, midnight - 5).empty()) << "a clock set back";
  const auto parts = by_day(midnight - 5, midnight + 86'400'000'000 + 7);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0], std::pair(std::string("2025-12-31"), std::int64_t{5}));
  EXPECT_EQ(parts[1], std::pair(std::string("2026-01-01"), std::int64_t{86'400'000'000}));
  EXPECT_EQ(parts[2], std::pair(std::string("2026-01-02"), std::int64_t{7}));
}

}  // namespace
}  // namespace caged::meter
