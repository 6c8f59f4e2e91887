#include "core/base/units.hpp"

#include <gtest/gtest.h>

namespace caged::base {
namespace {

using namespace std::chrono_literals;

TEST(units, read_durations) {
  EXPECT_EQ(parse_duration("5s").value(), 5s);
  EXPECT_EQ(parse_duration("10m").value(), 10min);
  EXPECT_EQ(parse_duration("1h30m").value(), 90min);
  EXPECT_EQ(parse_duration("250ms").value(), 250ms);
  EXPECT_EQ(parse_duration("1.5h").value(), 90min);
  EXPECT_EQ(parse_duration("2d").value(), 48h);
  EXPECT_EQ(parse_duration("90").value(), 90s);
  EXPECT_EQ(parse_duration("0").value(), 0s);
  for (const char* text : {"", " ", "s", "-5s", "+5s", "5x", "5s5", "1e3s", "nan", "inf", "5 s s", ".5s", "5.s",
                           "99999999d", "1..5s", "0x10s"}) {
    auto r = parse_duration(text);
    ASSERT_FALSE(r) << text;
    EXPECT_EQ(r.error().reason, "invalid_duration");
  }
}

TEST(units, write_durations) {
  EXPECT_EQ(format_duration(0us), "0s");
  EXPECT_EQ(format_duration(90min), "1h30m");
  EXPECT_EQ(format_duration(1500ms), "1s500ms");
  EXPECT_EQ(format_duration(-5s), "-5s");
  for (const auto d : {1us, 999us, 1000us, 86400000001us}) EXPECT_EQ(parse_duration(format_duration(d)).value(), d);
}

TEST(units, read_sizes) {
  EXPECT_EQ(parse_bytes("512").value(), 512u);
  EXPECT_EQ(parse_bytes("64KiB").value(), 65536u);
  EXPECT_EQ(parse_bytes("64k").value(), 65536u);
  EXPECT_EQ(parse_bytes("1.5 GiB").value(), 1610612736u);
  EXPECT_EQ(parse_bytes("10MB").value(), 10000000u);
  EXPECT_EQ(parse_bytes("18446744073709551615").value(), 18446744073709551615u);
  for (const char* text :
       {"", "B", "-1", "1Z", "1 2", "18446744073709551616", "99999999999TiB", "1e3", "0x10", "1.5.5G"}) {
    auto r = parse_bytes(text);
    ASSERT_FALSE(r) << text;
    EXPECT_EQ(r.error().reason, "invalid_size");
  }
}

TEST(units, write_sizes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(1048575), "1.0 MiB");
  EXPECT_EQ(format_bytes(18446744073709551615u), "16.0 EiB");
}

}  // namespace
}  // namespace caged::base
