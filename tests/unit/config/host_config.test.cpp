#include <core/config/host_config.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::with;

error refused_config(std::string_view text) {
  auto parsed = parse_host_config(text, "config.yaml");
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed ? error{} : parsed.error();
}

TEST(HostConfig, UnknownKeysNameLineAndNearMiss) {
  EXPECT_THAT(refused_config("listen: 127.0.0.1:0\nlisten_adress: x\n").message,
              AllOf(HasSubstr("config.yaml:2:"), HasSubstr("listen_adress")));
  EXPECT_THAT(refused_config("dta: /x\n").message, HasSubstr("data"));
  EXPECT_THAT(refused_config("limits:\n  cpu: {max: 2}\n").message,
              AllOf(HasSubstr("config.yaml:2:"), HasSubstr("cpus")));
  EXPECT_THAT(refused_config("plugins:\n  vm:\n    jail: {}\n").message, HasSubstr("vmm"));
}

TEST(HostConfig, WrongValuesNameTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {{"listen: 8080\n", "/listen"},
                                                       {"listen: localhost\n", "/listen"},
                                                       {"listen: 1.2.3.4:99999\n", "/listen"},
                                                       {"listen: '::1:80'\n", "/listen"},
                                                       {"listen: '1.2.3.4:'\n", "/listen"},
                                                       {"data: relative\n", "/data"},
                                                       {"data: ''\n", "/data"},
                                                       {"log_level: loud\n", "/log_level"},
                                                       {"plugin_dirs: /x\n", "/plugin_dirs"},
                                                       {"plugin_dirs: [x]\n", "/plugin_dirs/0"},
                                                       {"drain_time: soon\n", "/drain_time"},
                                                       {"limits: {sandboxes: 0}\n", "/limits/sandboxes"},
                                                       {"limits: {cpus: {min: 4, max: 2}}\n", "/limits/cpus"},
                                                       {"limits: {cpus: {max: 2, default: 4}}\n", "/limits/cpus"},
                                                       {"plugins: {vmm: {jail: true}}\n", "/plugins/vmm/jail"},
                                                       {"plugins: {vmm: {../x: {}}}\n", "/plugins/vmm"},
                                                       {"accept_missing: [1]\n", "/accept_missing/0"}};
  for (const auto& [text, place] : cases) {
    const error e = refused_config(text);
    EXPECT_EQ(e.reason, "invalid_config") << text;
    EXPECT_THAT(e.message, AllOf(HasSubstr("config.yaml:1:"), HasSubstr(place))) << text;
  }
  EXPECT_FALSE(parse_host_config("- a\n", "f").has_value());
}

TEST(HostConfig, EmptyIsTheDefaults) {
  auto parsed = parse_host_config("", "f");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->listen, "127.0.0.1:8080");
  EXPECT_EQ(parsed->limits.memory_mb.fallback, 512);
  EXPECT_TRUE(parsed->plugins.empty());
}

TEST(HostConfig, ReadsEverything) {
  auto parsed = parse_host_config(
      "listen: '[::1]:0'\ndata: /srv/./caged\nlog_level: debug\nlog_format: json\nplugin_dirs: [/p]\n"
      "server_names: [caged.local]\nallowed_origins: ['http://localhost:3000']\ndefault_backend: jail\n"
      "default_template: host\ndefault_network_mode: full\naccept_missing: [cgroup.memory]\nrepo_roots: [/src]\n"
      "drain_time: 1m\nlimits:\n  cpus: {min: 0.5, max: 4}\n  memory_mb: {max: 256}\n  sandboxes: 9\n"
      "plugins:\n  vmm:\n    jail: {store: /x}\n    docker: false\n  transport:\n    rest: {}\n",
      "f");
  ASSERT_TRUE(parsed.has_value()) << describe(parsed.error());
  EXPECT_EQ(parsed->listen, "[::1]:0");
  EXPECT_EQ(parsed->data, "/srv/caged");
  EXPECT_EQ(parsed->drain_time.count(), 60);
  EXPECT_EQ(parsed->limits.cpus.min, 0.5);
  EXPECT_EQ(parsed->limits.cpus.fallback, 2);
  EXPECT_EQ(parsed->limits.memory_mb.fallback, 256) << "a default above a lowered maximum comes down with it";
  EXPECT_EQ(parsed->limits.sandboxes, 9U);
  EXPECT_EQ(parsed->plugins.at("vmm.jail"), (json{{"store", "/x"}}));
  EXPECT_EQ(parsed->plugins.at("transport.rest"), json::object());
  EXPECT_THAT(parsed->disabled_plugins, ElementsAre("vmm.docker"));
}

TEST(HostConfig, AFileThatOthersMayWriteIsRefused) {
  const testing::scratch_folder folder;
  EXPECT_EQ(load_host_config(folder.write("g.yaml", "", 0620), with({})).error().reason, "config_writable");
  EXPECT_EQ(load_host_config(folder.write("o.yaml", "", 0602), with({})).error().reason, "config_writable");
  EXPECT_EQ(load_host_config(folder.path() / "none.yaml", with({})).error().code, errc::not_found);
  auto loaded = load_host_config(folder.write("ok.yaml", "log_level: warn\n", 0644), with({{"CAGED_DATA", "/d"}}));
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->log_level, "warn");
  EXPECT_EQ(loaded->data, "/d");
}

TEST(HostConfig, TheDataFolder) {
  EXPECT_EQ(default_data_dir(with({{"CAGED_DATA", "/x"}})), "/x");
  const auto own = default_data_dir(with({{"XDG_DATA_HOME", "/xdg"}, {"HOME", "/home/a"}}));
  const auto relative = default_data_dir(with({{"XDG_DATA_HOME", "xdg"}, {"HOME", "/home/a"}}));
  if (::geteuid() == 0) {
    EXPECT_EQ(own, "/var/lib/caged");
  } else {
    EXPECT_EQ(own, "/xdg/caged");
    EXPECT_EQ(relative, "/home/a/.local/share/caged");
  }
}

}  // namespace
}  // namespace caged::config
