#include "sdk/plugin/src/http/names.hpp"

#include <gtest/gtest.h>

namespace caged::http {
namespace {

TEST(names, a_rebound_name_is_not_ours) {
  const own_names own{{"caged.example.org"}, {}};
  EXPECT_FALSE(own.is_ours("evil.example", "127.0.0.1"));
  EXPECT_FALSE(own.is_ours("localhost.evil.example", "127.0.0.1"));
  EXPECT_FALSE(own.is_ours("10.0.0.2", "10.0.0.1"));
  EXPECT_FALSE(own.is_ours("", ""));
  EXPECT_TRUE(own.is_ours("localhost", "127.0.0.1"));
  EXPECT_TRUE(own.is_ours("::1", "::1"));
  EXPECT_TRUE(own.is_ours("10.0.0.1", "10.0.0.1"));
  EXPECT_TRUE(own.is_ours("caged.example.org", "10.0.0.1"));
}

TEST(names, only_the_same_origin_or_a_configured_one_may_talk) {
  const own_names own{{}, {"https://dash.example.org"}};
  EXPECT_TRUE(own.origin_allowed("", "localhost:8080"));
  EXPECT_TRUE(own.origin_allowed("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(own.origin_allowed("http://LOCALHOST", "localhost"));
  EXPECT_TRUE(own.origin_allowed("https://a", "a:443"));
  EXPECT_TRUE(own.origin_allowed("http://[::1]:80", "[::1]"));
  EXPECT_TRUE(own.origin_allowed("https://dash.example.org", "localhost:8080"));
  for (const char* origin :
       {"null", "http://localhost:3000", "http://evil.example", "file://", "http://localhost:8080.evil.example",
        "chrome-extension://abc", "https://dash.example.org.evil.example", "http://", "x"})
    EXPECT_FALSE(own.origin_allowed(origin, "localhost:8080")) << origin;
}

TEST(names, the_longest_route_wins_on_whole_segments) {
  const auto one = std::make_shared<const handler>();
  const auto two = std::make_shared<const handler>();
  const auto three = std::make_shared<const handler>();
  const std::vector<route_entry> routes{{"", "/", one}, {"", "/v1", two}, {"preview.test", "/", three}};
  route_miss why{};
  EXPECT_EQ(find_route(routes, "localhost", true, "/v1/x", why), two);
  EXPECT_EQ(find_route(routes, "localhost", true, "/v1", why), two);
  EXPECT_EQ(find_route(routes, "localhost", true, "/v1x", why), one);
  EXPECT_EQ(find_route(routes, "a.preview.test", false, "/v1", why), three);
  EXPECT_EQ(find_route(routes, "preview.test", false, "/", why), three);
  EXPECT_EQ(find_route(routes, "apreview.test", false, "/", why), nullptr);
  EXPECT_EQ(why, route_miss::unknown_host);
  EXPECT_EQ(find_route({{"", "/v1", two}}, "localhost", true, "/x", why), nullptr);
  EXPECT_EQ(why, route_miss::unknown_path);
}

}  // namespace
}  // namespace caged::http
