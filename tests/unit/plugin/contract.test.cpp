// The contract suites themselves: a good plugin passes, a broken one fails for the right reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <caged/testing/contract.hpp>
#include <cstdio>

extern "C" const caged_plugin_descriptor caged_plugin_v1_tool_hello;

namespace caged::testing {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path build_dir = CAGED_BUILD_DIR;

std::string failures(const contract_report& report) {
  std::string out;
  for (const auto& c : report.checks)
    if (c.how == verdict::failed) out += c.name + ": " + c.detail + "\n";
  return out;
}

TEST(Contract, TheExampleKeepsIt) {
  contract_options options;
  options.bad_config = json{{"greeting", ""}};
  const auto report = run_contract(caged_plugin_v1_tool_hello, options);
  EXPECT_TRUE(report.passed()) << report.text();
  EXPECT_GE(report.checks.size(), 14u) << "both the suite of every kind and that of tools ran";
}

TEST(Contract, TheExampleKeepsItAsAFile) {
  const auto report = run_contract(build_dir / "examples/plugins/caged-tool-hello.so");
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_TRUE(report->passed()) << report->text();
}

TEST(Contract, ABrokenPluginFailsForItsReason) {
  const auto report = run_contract(build_dir / "tests/modules/open_errors.so");
  ASSERT_TRUE(report.has_value());
  EXPECT_FALSE(report->passed());
  EXPECT_THAT(failures(*report),
              HasSubstr("goes through its life: open: plugin tool.broken: open failed: the open is broken"));
  const auto closing = run_contract(build_dir / "tests/modules/close_errors.so");
  EXPECT_THAT(failures(*closing), HasSubstr("closes a second time without harm: close: the close is broken"));
}

TEST(Contract, RefusesWhatCannotBeLoaded) {
  const auto report = run_contract(build_dir / "tests/modules/abi_newer.so");
  ASSERT_TRUE(report.has_error());
  EXPECT_EQ(report.error().reason, "plugin_abi");
}

TEST(Contract, NothingRunIsNothingPassed) {
  contract_options options;
  options.filter = "no check has this in its name";
  EXPECT_FALSE(run_contract(caged_plugin_v1_tool_hello, options).passed());
}

int check(const std::string& arguments) {
  const int status =
      std::system((build_dir / "bin/caged-plugin-check").string().append(" " + arguments + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(PluginCheck, TellsTheOutcomeByItsStatus) {
  EXPECT_EQ(check((build_dir / "examples/plugins/caged-tool-hello.so").string()), 0);
  EXPECT_EQ(check((build_dir / "tests/modules/open_errors.so").string()), 1);
  EXPECT_EQ(check((build_dir / "tests/modules/magic_wrong.so").string()), 2);
  EXPECT_EQ(check("/none.so"), 2);
  EXPECT_EQ(check("--config"), 2);
  EXPECT_EQ(check(""), 2);
}

}  // namespace
}  // namespace caged::testing
