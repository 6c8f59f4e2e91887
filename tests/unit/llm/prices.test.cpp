#include "plugins/transport/llm/prices.hpp"

namespace caged::transport_llm {
namespace {

price_table table(const json& overrides = json::array()) {
  return price_table::make(price_table::built_in(), overrides).value();
}

TEST(Prices, BadTablesAreRefusedWithTheEntry) {
  EXPECT_FALSE(price_table::make("{}", {}));
  EXPECT_FALSE(price_table::make("[", {}));
  EXPECT_EQ(price_table::make(R"({"models":[{"match":"x","input":1}]})", {}).error().path, "/prices/0");
  EXPECT_FALSE(price_table::make(R"({"models":[{"match":"x","input":-1,"output":1}]})", {}));
}

TEST(Prices, TheNewestOfTheBestMatchThatHoldsOnTheDay) {
  const auto t = table();
  EXPECT_EQ(t.find("openai", "o3-2025-04-16", "2025-05-01").what.normal.input, 10'000'000);
  EXPECT_EQ(t.find("openai", "o3-2025-04-16", "2026-01-01").what.normal.input, 2'000'000);
  EXPECT_EQ(t.find("openai", "o3-mini", "2026-01-01").what.normal.input, 1'100'000);
  EXPECT_EQ(t.find("openai", "openai/gpt-4o-mini", "2026-01-01").what.normal.input, 150'000);
  EXPECT_FALSE(t.find("anthropic", "gpt-4o", "2026-01-01").known);
  EXPECT_FALSE(t.find("openai", "o3", "2020-01-01").known) << "no price held then";
}

TEST(Prices, UnknownModelsCostTheHighestOfTheirProvider) {
  const auto p = table().find("openai", "gpt-99", "2026-01-01");
  EXPECT_FALSE(p.known);
  EXPECT_EQ(p.what.normal.output, 600'000'000);
  const auto own =
      table(json::parse(R"([{"match":"gpt-99","input":0.01,"output":0.02}])")).find("openai", "gpt-99", "2026-01-01");
  EXPECT_TRUE(own.known);
  EXPECT_EQ(own.what.normal.output, 20'000);
}

TEST(Prices, CostsAreRoundedUpOnceAndNeverOverflow) {
  price p;
  p.normal = {3'000'000, 15'000'000, 300'000, 3'750'000, 6'000'000};
  token_counts t;
  EXPECT_EQ(cost_micro(p, t), 0);
  t.cache_read = 1;
  EXPECT_EQ(cost_micro(p, t), 1);
  t = {100, 10, 1000, 20, 30, 5};
  EXPECT_EQ(cost_micro(p, t), 300 + 150 + 300 + 75 + 180);
  t.input = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(cost_micro(p, t), std::numeric_limits<std::int64_t>::max());
}

TEST(Prices, LongPromptsCostTheirOwnRates) {
  const auto p = table().find("gemini", "gemini-2.5-pro", "2026-01-01").what;
  token_counts t;
  t.input = 200'000;
  EXPECT_EQ(cost_micro(p, t), 250'000);
  t.input = 200'001;
  EXPECT_EQ(cost_micro(p, t), 500'003);
}

TEST(Prices, TheWorstCaseBoundsEveryCallThatFits) {
  for (const char* model : {"claude-sonnet-4-5", "claude-haiku-4-5"}) {
    const auto p = table().find("anthropic", model, "2026-01-01").what;
    for (const auto caches : {caching::none, caching::writes}) {
      const auto most = worst_case_micro(p, 1000, 500, caches);
      EXPECT_GE(output_that_fits(p, 1000, most, caches), 500);
      for (std::int64_t cached = 0; cached <= 1000; cached += 100) {
        token_counts t;
        t.output = 500;
        t.input = 1000 - cached;
        (caches == caching::writes ? t.cache_write_1h : t.cache_read) = cached;
        EXPECT_LE(cost_micro(p, t), most);
      }
    }
    EXPECT_EQ(output_that_fits(p, 1'000'000, 1, caching::none), -1);
  }
}

TEST(Prices, StarsMatchAnything) {
  EXPECT_TRUE(matches("claude-*", "claude-x"));
  EXPECT_TRUE(matches("*-mini*", "gpt-5-mini-2025"));
  EXPECT_TRUE(matches("*", ""));
  EXPECT_FALSE(matches("gpt-5", "gpt-5-pro"));
  EXPECT_FALSE(matches("a*b", "a"));
}

}  // namespace
}  // namespace caged::transport_llm
