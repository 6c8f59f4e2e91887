#include <core/config/sandbox_request.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

using list = std::vector<std::string>;

TEST(SandboxRequest, RefusesWhatCannotWork) {
  sandbox_request r;
  r.network_mode = "allowlist";
  EXPECT_EQ(r.settle().error().reason, "allowlist_missing");
  r.allowlist = list{};
  EXPECT_EQ(r.settle().error().reason, "allowlist_missing");
  r.network_mode = "none";
  r.allowlist = list{"a.org"};
  EXPECT_EQ(r.settle().error().reason, "allowlist_unused");
  sandbox_request lost;
  lost.repo_branch = "main";
  EXPECT_EQ(lost.settle().error().reason, "repo_missing");
}

TEST(SandboxRequest, HostsAloneMeanAllowlistMode) {
  sandbox_request r;
  r.allowlist = list{"a.org"};
  ASSERT_TRUE(r.settle().has_value());
  EXPECT_EQ(r.network_mode, "allowlist");
}

TEST(SandboxRequest, TheStrongerWinsMapsMergeListsAreReplaced) {
  sandbox_request weak;
  weak.cpus = 1;
  weak.memory_mb = 512;
  weak.env = {{"A", "weak"}, {"B", "weak"}};
  weak.packages = list{"a", "b"};
  sandbox_request strong;
  strong.cpus = 2;
  strong.env = {{"A", "strong"}, {"C", "strong"}};
  strong.packages = list{"c"};
  weak.overlay(strong);
  EXPECT_EQ(weak.body(), json::parse(R"({"cpus": 2, "memory_mb": 512, "packages": ["c"],
                                         "env": {"A": "strong", "B": "weak", "C": "strong"}})"));
}

TEST(SandboxRequest, ATokenIsNeverSentToAnotherRepository) {
  sandbox_request file;
  file.repo_url = "https://mine";
  file.repo_token = "secret";
  file.repo_branch = "b";
  sandbox_request flags;
  flags.repo_url = "https://other";
  file.overlay(flags);
  EXPECT_EQ(file.body(), json::parse(R"({"repo": "https://other"})"));
}

TEST(SandboxRequest, AStrongerNetworkReplacesTheWholeOfTheWeaker) {
  sandbox_request file;
  file.network_mode = "allowlist";
  file.allowlist = list{"a.org"};
  sandbox_request none;
  none.network_mode = "none";
  sandbox_request closed = file;
  closed.overlay(none);
  ASSERT_TRUE(closed.settle().has_value());
  EXPECT_EQ(closed.body(), json::parse(R"({"network_mode": "none"})"));

  sandbox_request full;
  full.network_mode = "full";
  sandbox_request hosts;
  hosts.allowlist = list{"b.org"};
  full.overlay(hosts);
  ASSERT_TRUE(full.settle().has_value());
  EXPECT_EQ(full.body(), json::parse(R"({"network_mode": "allowlist", "allowlist": ["b.org"]})"));
}

}  // namespace
}  // namespace caged::config
