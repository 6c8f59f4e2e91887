// The labelled sessions: what the shipped trust policy says of real work and of real attacks.
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <iomanip>
#include <map>
#include <set>

#include "core/base/time.hpp"
#include "core/judgement/seen.hpp"
#include "core/judgement/subject.hpp"
#include "core/policy/policy_tools.hpp"

namespace caged::testing {
namespace {

struct verdict_on {
  std::string name;
  int score = 100;
  std::set<std::string> expected, found;
};

policy::engine_options shipped() {
  policy::engine_options o;
  o.roots = {std::filesystem::path(CAGED_SOURCE_DIR) / "policies"};
  o.policies.emplace_back();
  o.policies.back().name = "trust";
  return o;
}

std::vector<event> facts_of(const json& session) {
  std::vector<event> facts;
  std::uint64_t sequence = 0;
  for (const json& one : session.at("events")) {
    event e;
    e.id = e.sequence = ++sequence;
    e.session_id = session.at("name").get<std::string>();
    e.sandbox_id = "cage-recorded";
    e.type = one.at("type").get<std::string>();
    e.time_us = base::parse_time(one.at("timestamp").get<std::string>()).value();
    e.data = one.at("data");
    if (auto seen = judgement::as_seen(std::move(e))) facts.push_back(std::move(*seen));
  }
  return facts;
}

std::vector<verdict_on> judge(const std::string& file) {
  std::ifstream in(std::filesystem::path(CAGED_SOURCE_DIR) / "tests/policies/corpus" / file);
  std::vector<verdict_on> all;
  judgement::subject who;
  who.network_mode = "none";
  for (std::string line; std::getline(in, line);) {
    const json session = json::parse(line);
    verdict_on v;
    v.name = session.at("name").get<std::string>();
    v.expected = session.at("rules").get<std::set<std::string>>();
    const auto facts = facts_of(session);
    auto told = policy::replay_events(shipped(), nullptr, facts, judgement::to_context(who, 100));
    if (!told) throw std::runtime_error(describe(told.error()));
    for (const json& s : told->at("sessions")) {
      v.score = s.at("score").get<int>();
      for (const json& d : s.at("deductions")) v.found.insert(d.at("rule").get<std::string>());
    }
    all.push_back(std::move(v));
  }
  return all;
}

const std::vector<verdict_on>& work() {
  static const auto all = judge("benign.jsonl");
  return all;
}

TEST(corpus, work_keeps_its_trust) {
  EXPECT_GE(work().size(), 150u);
  for (const auto& v : work()) {
    std::string rules;
    for (const auto& r : v.found) rules += r + " ";
    EXPECT_GE(v.score, 90) << v.name << ": " << rules;
  }
}

TEST(corpus, attacks_are_found_by_the_rule_for_them) {
  const auto all = judge("harmful.jsonl");
  EXPECT_GE(all.size(), 150u);
  struct row {
    int expected = 0, found = 0, right = 0;
  };
  std::map<std::string, row> rules;
  int caught = 0;
  for (const auto& v : all) {
    caught += v.score < 90 || v.found.size() > v.expected.size() ? 1 : !v.found.empty();
    for (const auto& r : v.expected) {
      ++rules[r].expected;
      if (v.found.contains(r)) ++rules[r].right;
      if (!v.found.contains(r)) std::cout << "missed: " << v.name << "\n";
    }
    for (const auto& r : v.found) ++rules[r].found;
  }
  // A session may break a second rule than its label's, which is no mistake of the rule: false alarms are what a rule
  // says of work.
  std::map<std::string, int> alarms;
  for (const auto& v : work())
    for (const auto& r : v.found) ++alarms[r];
  int expected = 0, right = 0;
  std::cout << std::left << std::setw(20) << "rule" << " sessions recall precision\n";
  for (const auto& [name, r] : rules) {
    const double recall = r.expected ? static_cast<double>(r.right) / r.expected : 1;
    const double precision = static_cast<double>(r.found) / std::max(1, r.found + alarms[name]);
    std::cout << std::left << std::setw(20) << name << std::setw(9) << r.expected << " " << std::fixed << std::setprecision(3) << recall << "  " << precision << "\n";
    expected += r.expected;
    right += r.right;
  }
  const double recall = static_cast<double>(right) / std::max(1, expected);
  std::cout << "recall " << recall << " by the rule of the label; " << caught << " of " << all.size() << " sessions lost trust\n";
  EXPECT_GE(recall, 0.95);
}

}  // namespace
}  // namespace caged::testing
