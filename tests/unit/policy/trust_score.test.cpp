#include <gtest/gtest.h>

#include <core/policy/trust_score.hpp>

namespace caged::policy {
namespace {

verdict losing(double points) {
  verdict v;
  v.deductions.push_back({points, "reason", "rule", "trust", "advice"});
  return v;
}

TEST(trust_score, bad_saved_scores_are_refused) {
  for (const char* text :
       {"null", "{}", "[]", R"({"points_lost":"x","dropped":0,"deductions":[]})",
        R"({"points_lost":-1,"dropped":0,"deductions":[]})", R"({"points_lost":1,"dropped":0,"deductions":[{}]})",
        R"({"points_lost":1,"dropped":-1.5,"deductions":7})"}) {
    EXPECT_FALSE(trust_score::from_json(json::parse(text))) << text;
  }
}

TEST(trust_score, counts_explains_and_comes_back) {
  trust_score score;
  EXPECT_EQ(score.score(), 100);
  EXPECT_EQ(score.band().name, "excellent");
  EXPECT_FALSE(score.apply(verdict{}, event{}));
  event e;
  e.id = 9;
  e.sequence = 4;
  e.type = "command";
  EXPECT_TRUE(score.apply(losing(10.5), e));
  EXPECT_EQ(score.score(), 89);
  EXPECT_EQ(score.band().name, "good");
  const json j = score.to_json();
  EXPECT_EQ(j["deductions"][0]["event_id"], 9);
  EXPECT_EQ(j["deductions"][0]["rule"], "rule");
  EXPECT_EQ(j["deductions"][0]["score_after"], 89.5);
  const auto back = trust_score::from_json(j);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->to_json(), j);
}

TEST(trust_score, never_leaves_its_range_and_stays_bounded) {
  trust_score score;
  for (int i = 0; i < 1500; ++i) score.apply(losing(30), event{});
  EXPECT_EQ(score.score(), 0);
  EXPECT_EQ(score.band().name, "critical");
  EXPECT_EQ(score.entries().size(), trust_score::max_entries);
  EXPECT_EQ(score.dropped(), 500u);
}

TEST(trust_score, bands_and_sandboxes) {
  for (const auto& [points, name] : {std::pair{90, "excellent"},
                                     {89, "good"},
                                     {70, "good"},
                                     {69, "caution"},
                                     {50, "caution"},
                                     {49, "warning"},
                                     {30, "warning"},
                                     {29, "critical"},
                                     {0, "critical"}}) {
    EXPECT_EQ(band_of(points).name, name) << points;
  }
  EXPECT_EQ(sandbox_score({}), 100);
  EXPECT_EQ(sandbox_score({90, 40, 100}), 40);
}

}  // namespace
}  // namespace caged::policy
