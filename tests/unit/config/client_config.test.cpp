#include <core/config/client_config.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

using ::testing::HasSubstr;
using testing::scratch_folder;
using testing::with;

TEST(ClientConfig, RefusesUnknownKeysAndWrongTypes) {
  EXPECT_THAT(parse_client_config("api_ulr: x\n", "c.yaml").error().message, HasSubstr("did you mean 'api_url'"));
  EXPECT_THAT(parse_client_config("default_cpus: many\n", "c.yaml").error().message,
              HasSubstr("c.yaml:1: default_cpus"));
  EXPECT_THAT(parse_client_config("default_network: open\n", "c").error().message, HasSubstr("open"));
  EXPECT_FALSE(parse_client_config("[1]", "c").has_value());
}

TEST(ClientConfig, AKeyFileThatOthersCanReadIsRefused) {
  const scratch_folder folder;
  folder.write("config.yaml", "api_url: http://a\napi_key: caged_sk_x\n", 0644);
  const auto refused = load_client_config(folder.path());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, "key_file_readable");
  EXPECT_THAT(refused.error().action, HasSubstr("chmod 600"));
  folder.write("config.yaml", "default_cpus: 2\n", 0644);
  EXPECT_TRUE(load_client_config(folder.path()).has_value()) << "without a key it is no secret";
}

TEST(ClientConfig, YamlGoesOverJsonAndKeysStayWithTheirServer) {
  const scratch_folder folder;
  folder.write("config.json", "{\n\t\"api_url\": \"http://a\",\n\t\"api_key\": \"caged_sk_a\"\n}\n");
  EXPECT_EQ(load_client_config(folder.path())->api_key, "caged_sk_a");
  folder.write("config.yaml", "default_memory: 1G\n");
  auto both = load_client_config(folder.path());
  ASSERT_TRUE(both.has_value());
  EXPECT_EQ(both->api_url, "http://a");
  EXPECT_EQ(both->defaults.memory_mb, 1024);
  EXPECT_EQ(both->source, folder.path() / "config.json");
  folder.write("config.yaml", "api_url: http://b\n");
  auto other = load_client_config(folder.path());
  EXPECT_EQ(other->api_url, "http://b");
  EXPECT_EQ(other->api_key, "") << "the key of server a is not for server b";
}

TEST(ClientConfig, NoFilesAreNoSettings) {
  const scratch_folder folder;
  auto none = load_client_config(folder.path() / "nowhere");
  ASSERT_TRUE(none.has_value());
  EXPECT_EQ(none->api_url, "");
  EXPECT_EQ(none->defaults.body(), json::object());
}

TEST(ClientConfig, TheFolder) {
  EXPECT_EQ(client_config_dir(with({{"XDG_CONFIG_HOME", "/c"}, {"HOME", "/h"}})), "/c/caged");
  EXPECT_EQ(client_config_dir(with({{"XDG_CONFIG_HOME", "c"}, {"HOME", "/h"}})), "/h/.config/caged");
}

TEST(ClientConfig, VariablesAreTheWeakestDefaults) {
  auto defaults = environment_defaults(
      with({{"CAGED_CPUS", "3"}, {"CAGED_MEMORY", "2G"}, {"CAGED_NETWORK", "none"}, {"CAGED_DISK", ""}}));
  ASSERT_TRUE(defaults.has_value());
  EXPECT_EQ(defaults->body(), json::parse(R"({"cpus": 3, "memory_mb": 2048, "network_mode": "none"})"));
  EXPECT_THAT(environment_defaults(with({{"CAGED_CPUS", "x"}})).error().message, HasSubstr("CAGED_CPUS"));
}

}  // namespace
}  // namespace caged::config
