#include <gtest/gtest.h>

#include <core/policy/event_catalogue.hpp>
#include <core/policy/verdict.hpp>

namespace caged::policy {
namespace {

verdict of(verdict_kind kind, std::string reason) {
  verdict v;
  v.kind = kind;
  v.reason = std::move(reason);
  v.policy = v.reason;
  return v;
}

TEST(verdict, severity_decides_and_the_first_of_equals_speaks) {
  const verdict_kind order[] = {verdict_kind::allow, verdict_kind::annotate, verdict_kind::ask,
                                verdict_kind::deny,  verdict_kind::pause,    verdict_kind::kill};
  for (std::size_t i = 0; i < std::size(order); ++i) {
    for (std::size_t k = 0; k < std::size(order); ++k) {
      verdict a = of(order[i], "first");
      a.combine(of(order[k], "second"));
      EXPECT_EQ(a.kind, order[std::max(i, k)]);
      EXPECT_EQ(a.reason, k > i ? "second" : "first");
    }
  }
}

TEST(verdict, json_leaves_out_what_is_empty) {
  EXPECT_EQ(verdict{}.to_json(), json({{"kind", "allow"}, {"allowed", true}}));
  verdict v = of(verdict_kind::deny, "no");
  v.deductions.push_back({2, "why", "rule", "p", ""});
  v.failures.push_back({"q", "policy_error", "m"});
  const json j = v.to_json();
  EXPECT_EQ(j["deductions"][0]["points"], 2.0);
  EXPECT_FALSE(j["deductions"][0].contains("advice"));
  EXPECT_EQ(j["failures"][0]["policy"], "q");
  EXPECT_FALSE(j["allowed"].get<bool>());
}

TEST(catalogue, every_gate_is_recorded_as_a_fact_and_data_is_checked) {
  for (const auto& type : event_types()) {
    EXPECT_TRUE(!type.gate || find_fact(type.recorded_as) != nullptr) << type.name;
    EXPECT_TRUE(event_schema(type)["properties"].is_object());
  }
  const auto& command = *find_gate("command");
  EXPECT_TRUE(check_event_data(command, {{"command", "x"}, {"newer", 1}}));
  const auto wrong = check_event_data(command, {{"command", 7}});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().path, "/command");
  EXPECT_FALSE(check_event_data(command, json::array()));
  EXPECT_EQ(find_gate("lifecycle"), nullptr);
  EXPECT_EQ(find_fact("sandbox.create"), nullptr);
}

}  // namespace
}  // namespace caged::policy
