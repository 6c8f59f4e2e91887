#include "core/base/time.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace caged::base {
namespace {

TEST(time, is_written_with_microseconds_in_utc) {
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_time(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(format_time(951782400000123), "2000-02-29T00:00:00.000123Z");
  EXPECT_EQ(format_time(std::numeric_limits<std::int64_t>::max()), "9999-12-31T23:59:59.999999Z");
  EXPECT_EQ(format_time(std::numeric_limits<std::int64_t>::min()), "0000-01-01T00:00:00.000000Z");
}

TEST(time, is_read_in_every_form_of_rfc_3339) {
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z").value(), 0);
  EXPECT_EQ(parse_time("1970-01-01t00:00:00.5z").value(), 500000);
  EXPECT_EQ(parse_time("1970-01-01 01:30:00.123456789+01:30").value(), 123456);
  EXPECT_EQ(parse_time("1969-12-31T23:59:59-00:00").value(), -1000000);
  EXPECT_EQ(parse_time("2016-12-31T23:59:60Z").value(), parse_time("2017-01-01T00:00:00Z").value());
  for (const std::int64_t t : {0ll, 1ll, 951782400000123ll, 4102444800000000ll, -1ll})
    EXPECT_EQ(parse_time(format_time(t)).value(), t);
}

TEST(time, refuses_what_is_none) {
  for (const char* text :
       {"", "now", "2026-01-31", "2026-01-31T09:08:07", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00Zx", " 2026-01-01T00:00:00Z", "-026-01-01T00:00:00Z", "2026-01-01T00:00:00ZZ",
        "2026-1-1T00:00:00Z"}) {
    auto r = parse_time(text);
    ASSERT_FALSE(r) << text;
    EXPECT_EQ(r.error().reason, "invalid_time");
    EXPECT_FALSE(r.error().action.empty());
  }
}

}  // namespace
}  // namespace caged::base
