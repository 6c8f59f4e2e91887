#include <core/config/units.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

TEST(Units, RefusesDurationsThatAreNone) {
  for (const char* text : {"", " ", "x", "-1", "-5m", "5 m", "1h30", "m", "1.2.3s", "1e3", "inf", "nan", "250ms",
                           "0.5s", "99999999999999999999", "5m-1s", "11y", "100000d"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << "'" << text << "'";
  }
}

TEST(Units, ReadsDurations) {
  const std::pair<const char*, int> cases[] = {{"0", 0},        {"900", 900},   {"15m", 900},
                                               {"1h30m", 5400}, {"2d", 172800}, {"1.5h", 5400}};
  for (const auto& [text, seconds] : cases) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_EQ(parsed->count(), seconds) << text;
  }
}

TEST(Units, RefusesSizesThatAreNone) {
  for (const char* text : {"", "x", "-1", "1X", "1GX", "1 G", "G", "1.2.3", "0x10", "1e3", "999999999999999T", "nan"}) {
    EXPECT_FALSE(parse_size(text, size_unit::mebibytes).has_value()) << "'" << text << "'";
  }
  EXPECT_FALSE(parse_size("1k", size_unit::mebibytes).has_value()) << "not a whole megabyte";
  EXPECT_FALSE(parse_size("512M", size_unit::gibibytes).has_value()) << "not a whole gigabyte";
}

TEST(Units, ReadsSizes) {
  EXPECT_EQ(*parse_size("512", size_unit::mebibytes), 512);
  EXPECT_EQ(*parse_size("2G", size_unit::mebibytes), 2048);
  EXPECT_EQ(*parse_size("1.5gib", size_unit::mebibytes), 1536);
  EXPECT_EQ(*parse_size("2048k", size_unit::mebibytes), 2);
  EXPECT_EQ(*parse_size("5", size_unit::gibibytes), 5);
  EXPECT_EQ(*parse_size("2048MB", size_unit::gibibytes), 2);
  EXPECT_EQ(*parse_size("1T", size_unit::gibibytes), 1024);
}

TEST(Units, ReadsNumbers) {
  EXPECT_EQ(*parse_number("0.5"), 0.5);
  EXPECT_EQ(*parse_number("2"), 2.0);
  for (const char* text : {"", "-1", "+1", "1e3", "nan", "inf", "1,5", "0x2", "2 "}) {
    EXPECT_FALSE(parse_number(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace caged::config
