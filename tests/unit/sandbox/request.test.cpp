#include <gtest/gtest.h>

#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

result<create_request> parse(json arguments, scope granted = scope::full) {
  caller who;
  who.granted = granted;
  who.key_id = "key-1";
  config::host_config host;
  return parse_create(arguments, who, host, {"jail"}, {{"jail", {"host"}}});
}

struct refusal {
  const char* name;
  json arguments;
  scope granted;
  errc code;
  const char* path;
};

TEST(CreateRequest, RefusesWhatCannotWorkAndNamesThePlace) {
  const refusal cases[] = {
      {"template", {{"template", "hots"}}, scope::full, errc::invalid_argument, "/template"},
      {"backend", {{"backend", "quemu"}}, scope::full, errc::invalid_argument, "/backend"},
      {"scheme", {{"repo", "ext::sh -c id"}}, scope::full, errc::invalid_argument, "/repo"},
      {"relative path", {{"repo", "../x"}}, scope::full, errc::invalid_argument, "/repo"},
      {"path without full scope", {{"repo", "/etc"}}, scope::sandbox, errc::permission_denied, "/repo"},
      {"file without full scope", {{"repo", "file:///etc"}}, scope::sandbox, errc::permission_denied, "/repo"},
      {"ssh without full scope", {{"repo", "ssh://h/x"}}, scope::sandbox, errc::permission_denied, "/repo"},
      {"http without full scope",
       {{"repo", "http://169.254.169.254/x"}},
       scope::sandbox,
       errc::permission_denied,
       "/repo"},
      {"branch as option",
       {{"repo", "https://h/x"}, {"repo_branch", "--upload-pack=id"}},
       scope::full,
       errc::invalid_argument,
       "/repo_branch"},
      {"commit as option",
       {{"repo", "https://h/x"}, {"repo_commit", "-x"}},
       scope::full,
       errc::invalid_argument,
       "/repo_commit"},
      {"subdir up",
       {{"repo", "https://h/x"}, {"repo_subdir", "a/../../b"}},
       scope::full,
       errc::invalid_argument,
       "/repo_subdir"},
      {"subdir absolute",
       {{"repo", "https://h/x"}, {"repo_subdir", "/etc"}},
       scope::full,
       errc::invalid_argument,
       "/repo_subdir"},
      {"branch without repo", {{"repo_branch", "main"}}, scope::full, errc::invalid_argument, "/repo"},
      {"env name", {{"env", {{"A=B", "x"}}}}, scope::full, errc::invalid_argument, nullptr},
      {"network", {{"network_mode", "open"}}, scope::full, errc::invalid_argument, "/network_mode"},
      {"no list", {{"network_mode", "allowlist"}}, scope::full, errc::invalid_argument, "/allowlist"},
      {"allow-list", {{"allowlist", {"a.example", "*.com"}}}, scope::full, errc::invalid_argument, "/allowlist/1"},
  };
  for (const auto& c : cases) {
    auto r = parse(c.arguments, c.granted);
    ASSERT_FALSE(r) << c.name;
    EXPECT_EQ(r.error().code, c.code) << c.name;
    if (c.path) {
      EXPECT_EQ(r.error().path, c.path) << c.name;
    }
    EXPECT_FALSE(r.error().action.empty()) << c.name;
  }
}

TEST(CreateRequest, SuggestsTheNearestTemplate) {
  auto r = parse({{"template", "hots"}});
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().action.find("Did you mean \"host\"?"), std::string::npos) << r.error().action;
}

TEST(CreateRequest, FillsDefaultsAndClampsIdleTime) {
  auto r = parse({{"timeout", 1e9}});
  ASSERT_TRUE(r);
  const record& w = r->wanted;
  EXPECT_EQ(w.template_name, "host");
  EXPECT_EQ(w.backend, "jail");
  EXPECT_EQ(w.cpus, 2);
  EXPECT_EQ(w.memory_mb, 512);
  EXPECT_EQ(w.disk_gb, 5);
  EXPECT_EQ(w.timeout_s, 604800);
  EXPECT_EQ(w.network_mode, "none");
  EXPECT_EQ(parse(json::object())->wanted.timeout_s, 900);
}

TEST(CreateRequest, ZeroMeansTheServersDefault) {
  auto r = parse({{"cpus", 0}, {"memory_mb", 0}, {"disk_gb", 0}, {"timeout", 0}});
  ASSERT_TRUE(r);
  EXPECT_EQ(r->wanted.memory_mb, 512);
}

}  // namespace
}  // namespace caged::sandbox
