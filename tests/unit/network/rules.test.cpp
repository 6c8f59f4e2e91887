// Entries of allow-lists, classes of addresses, and the verdict by both.
#include "core/network/rules.hpp"

#include <gtest/gtest.h>

namespace caged::network {
namespace {

bool usable(std::string_view text) { return static_cast<bool>(host_pattern::parse(text)); }

destination https(std::string name, const char* address = "203.0.113.10") {
  destination to;
  to.name = std::move(name);
  to.name_source = "sni";
  to.protocol = "tls";
  to.port = 443;
  to.address = boost::asio::ip::make_address(address);
  return to;
}

TEST(HostPattern, TooMuchOrNothingIsRefused) {
  for (const char* bad : {"", "*", "**", "*.", "*.com", "**.co.uk", "*.github.io.", "**.com:443", "0.0.0.0/0", "::/0", "http://a.example", "a.example/x",
                          "user@a.example", "a..example", "a.example:0", "a.example:70000", "a.example:x", "*.*.example.org", "a.*.example.org",
                          "b\xc3\xbc" "cher.example", "-\n.example", "0x7f000001", "2130706433", "10.1.2.3/33"})
    EXPECT_EQ(usable(bad), std::string_view(bad) == "*.github.io.") << bad;
}

TEST(HostPattern, MatchesWhatItSaysAndNoMore) {
  const auto matches = [](const char* pattern, const char* name, std::uint16_t port = 443) { return host_pattern::parse(pattern)->matches_name(name, port); };
  EXPECT_TRUE(matches("Example.ORG.", "example.org"));
  EXPECT_FALSE(matches("example.org", "a.example.org"));
  EXPECT_TRUE(matches("*.example.org", "a.example.org"));
  EXPECT_FALSE(matches("*.example.org", "a.b.example.org"));
  EXPECT_FALSE(matches("*.example.org", "example.org"));
  EXPECT_FALSE(matches("*.example.org", "evilexample.org"));
  EXPECT_TRUE(matches("**.example.org", "a.b.example.org"));
  EXPECT_FALSE(matches("**.example.org", "evilexample.org"));
  EXPECT_TRUE(matches("example.org:443", "example.org"));
  EXPECT_FALSE(matches("example.org:443", "example.org", 80));
  EXPECT_FALSE(matches("203.0.113.0/24", "203.0.113.10"));
}

TEST(NormalName, AddressesInDisguiseAreNoNames) {
  for (const char* bad : {"1.2.3.4", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "a b.example", "a%2eexample", "", ".", "a..b", "\xe2\x93\x96ood.example"})
    EXPECT_FALSE(normal_name(bad)) << bad;
  EXPECT_EQ(normal_name("GoOd.Example."), "good.example");
  EXPECT_FALSE(normal_name("good.example..")) << "one dot is the root";
  EXPECT_FALSE(normal_name(std::string(64, 'a') + ".example"));
}

TEST(Addresses, InnerOnesAreKnownInEveryDress) {
  for (const char* inner : {"127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.1.1", "172.31.0.1", "192.168.1.1", "169.254.169.254", "169.254.1.1", "100.64.0.1", "224.0.0.1",
                            "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:0:10.0.0.1", "::10.0.0.1", "64:ff9b::7f00:1",
                            "2002:7f00:1::", "2001:0:1:2:3:4:80ff:fffe", "fec0::1"})
    EXPECT_NE(class_of(*parse_address(inner)), "") << inner;
  for (const char* outer : {"203.0.113.10", "8.8.4.4", "172.32.0.1", "2001:db8::10", "::ffff:203.0.113.10"}) EXPECT_EQ(class_of(*parse_address(outer)), "") << outer;
  for (const char* none : {"1.2.3", "0x7f.0.0.1", "010.0.0.1", "1.2.3.4.5", "1.2.3.4 ", "::1%lo"}) EXPECT_FALSE(parse_address(none)) << none;
}

TEST(Decide, ByNameOnlyWhereTheNameIsProven) {
  const auto r = *make_rules("allowlist", {"good.example", "203.0.113.7"});
  EXPECT_TRUE(decide(r, https("good.example")).allowed);
  auto to = https("good.example");
  to.name_fits = false;
  EXPECT_EQ(decide(r, to).rule, "name_contradicts_address");
  to = https("good.example");
  to.hidden_name = true;
  EXPECT_EQ(decide(r, to).rule, "hidden_name");
  to = https("good.example");
  to.name_source = "dns";
  EXPECT_EQ(decide(r, to).rule, "no_server_name");
  EXPECT_EQ(decide(r, https("")).rule, "unnamed");
  EXPECT_EQ(decide(r, https("other.example")).rule, "not_allowed");
  EXPECT_TRUE(decide(r, https("other.example", "203.0.113.7")).allowed) << "who lists an address means whatever is served there";
  EXPECT_FALSE(decide(*make_rules("none", {"good.example"}), https("good.example")).allowed);
  EXPECT_EQ(make_rules("allowlist", {"good.example", "*"}).error().path, "/allowlist/1");
  EXPECT_FALSE(make_rules("open", {}));
}

}  // namespace
}  // namespace caged::network
