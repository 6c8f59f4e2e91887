// Times one evaluation of the shipped trust policy and prints events per second.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <core/policy/policy_engine.hpp>
#include <cstdio>

namespace caged::policy {
namespace {

using clock = std::chrono::steady_clock;

event fact(std::string type, json data) {
  event e;
  e.type = std::move(type);
  e.session_id = "s";
  e.data = std::move(data);
  return e;
}

// What a build and a test run are made of, in about the usual shares: file reads and writes, programs, a few
// connections.
std::vector<event> ordinary_events() {
  std::vector<event> out;
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    out.push_back(fact("file_op", {{"operation", "read"},
                                   {"path", "/workspace/src/module" + n + ".c"},
                                   {"exe", "/usr/bin/cc1"},
                                   {"pid", 100 + i},
                                   {"source", "exec"}}));
    out.push_back(fact("file_op", {{"operation", "read"},
                                   {"path", "/usr/include/header" + n + ".h"},
                                   {"exe", "/usr/bin/cc1"},
                                   {"pid", 100 + i},
                                   {"source", "exec"}}));
    out.push_back(fact("file_op", {{"operation", "write"},
                                   {"path", "/workspace/build/module" + n + ".o"},
                                   {"exe", "/usr/bin/as"},
                                   {"pid", 100 + i},
                                   {"source", "exec"}}));
    if (i % 8 == 0)
      out.push_back(
          fact("command", {{"argv", {"/usr/bin/cc", "-O2", "-c", "module" + n + ".c", "-o", "module" + n + ".o"}},
                           {"path", "/usr/bin/cc"},
                           {"pid", 100 + i},
                           {"ppid", 99},
                           {"uid", 1000},
                           {"source", "exec"}}));
    if (i % 10 == 0)
      out.push_back(fact("network", {{"operation", "connect"},
                                     {"host", "github.com"},
                                     {"address", "104.16.1.35"},
                                     {"port", 443},
                                     {"verdict", "allow"}}));
    if (i % 20 == 0)
      out.push_back(fact("command", {{"command", "cd build && make -j4 2>&1 | tail -20"}, {"source", "rest"}}));
  }
  return out;
}

struct timing {
  double p50 = 0, p99 = 0, per_second = 0;
};

timing measure(policy_engine& engine, const std::vector<event>& events, int rounds) {
  const json session = {{"agent", "codex"}, {"allowed_hosts", json::array()}};
  std::vector<double> times;
  std::int64_t now = 1'700'000'000'000'000;
  for (auto e : events) engine.observe(e, session);
  const auto begin = clock::now();
  for (int round = 0; round < rounds; ++round) {
    for (const auto& e : events) {
      now += 1000;
      const_cast<event&>(e).time_us = now;
      const auto start = clock::now();
      const verdict v = engine.observe(e, session);
      times.push_back(std::chrono::duration<double, std::micro>(clock::now() - start).count());
      EXPECT_TRUE(v.failures.empty() && v.deductions.empty()) << v.to_json().dump();
    }
  }
  const double seconds = std::chrono::duration<double>(clock::now() - begin).count();
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 99 / 100], static_cast<double>(times.size()) / seconds};
}

TEST(bench_policy, one_evaluation_of_the_trust_policy) {
  engine_options options;
  options.roots = {std::filesystem::path(CAGED_SOURCE_DIR) / "policies"};
  options.policies = {{"trust", json::object(), ""}};
  auto engine = policy_engine::load(options);
  ASSERT_TRUE(engine) << describe(engine.error());
  const auto events = ordinary_events();
  const timing all = measure(**engine, events, 200);
  std::printf("trust policy, ordinary mix: p50 %.2f us, p99 %.2f us, %.0f events/s on one core\n", all.p50, all.p99,
              all.per_second);
  for (const char* kind : {"file_op", "command", "network"}) {
    std::vector<event> some;
    for (const auto& e : events) {
      if (e.type == kind) some.push_back(e);
    }
    const timing t = measure(**engine, some, 100);
    std::printf("  %-8s p50 %.2f us, p99 %.2f us, %.0f events/s\n", kind, t.p50, t.p99, t.per_second);
  }
  // An unoptimised or sanitized build is many times slower; the number that counts is printed above.
  EXPECT_LT(all.p50, 100);
}

}  // namespace
}  // namespace caged::policy
