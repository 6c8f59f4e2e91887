#include "core/base/time.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace caged::base {
namespace {

using namespace std::chrono;

constexpr std::int64_t earliest = -62167219200000000;  // 0000-01-01
constexpr std::int64_t latest = 253402300799999999;    // 9999-12-31T23:59:59.999999

error invalid(std::string_view text) {
  return fail(errc::invalid_argument, "invalid_time",
              "\"" + std::string(text.substr(0, 64)) + "\" is not a point in time",
              "Write RFC 3339, for example 2026-01-31T09:08:07Z or 2026-01-31T10:08:07.5+01:00.");
}

// Reads digits and fixed characters from the front; the first mismatch sticks.
class scanner {
 public:
  explicit scanner(std::string_view t) : text_(t) {}
  int number(std::size_t digits) {
    int value = 0;
    for (; digits > 0; --digits) {
      if (!digit()) return 0;
      value = value * 10 + (text_.front() - '0');
      text_.remove_prefix(1);
    }
    return value;
  }
  bool take(std::string_view any_of) {
    if (!ok_ || text_.empty() || any_of.find(text_.front()) == std::string_view::npos) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(std::string_view any_of) { ok_ = take(any_of) && ok_; }
  bool at_digit() const { return !text_.empty() && text_.front() >= '0' && text_.front() <= '9'; }
  bool ended() const { return ok_ && text_.empty(); }
  bool ok() const { return ok_; }

 private:
  bool digit() {
    ok_ = ok_ && at_digit();
    return ok_;
  }
  std::string_view text_;
  bool ok_ = true;
};

int fraction_us(scanner& in) {
  int value = 0, digits = 0;
  for (; in.ok() && in.at_digit() && digits < 9; ++digits) {
    const int d = in.number(1);
    if (digits < 6) value = value * 10 + d;
  }
  if (digits == 0) in.number(1);  // a dot without digits is a mismatch
  for (; digits < 6; ++digits) value *= 10;
  return value;
}

}  // namespace

std::int64_t now_us() noexcept { return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count(); }

std::string format_time(std::int64_t time_us) {
  const sys_time<microseconds> t{microseconds(std::clamp(time_us, earliest, latest))};
  const auto day = floor<days>(t);
  const year_month_day date{day};
  const hh_mm_ss clock{t - day};
  std::array<char, 64> out{};
  const int n =
      std::snprintf(out.data(), out.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", static_cast<int>(date.year()),
                    static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                    static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                    static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return {out.data(), static_cast<std::size_t>(n)};
}

result<std::int64_t> parse_time(std::string_view text) {
  scanner in(text);
  const int y = in.number(4);
  in.expect("-");
  const int mo = in.number(2);
  in.expect("-");
  const int d = in.number(2);
  in.expect("Tt ");
  const int h = in.number(2);
  in.expect(":");
  const int mi = in.number(2);
  in.expect(":");
  const int s = in.number(2);
  const int us = in.take(".,") ? fraction_us(in) : 0;
  int offset = 0;
  if (!in.take("Zz")) {
    const int sign = in.take("-") ? -1 : 1;
    if (sign > 0) in.expect("+");
    const int oh = in.number(2);
    in.expect(":");
    const int om = in.number(2);
    if (oh > 23 || om > 59) return invalid(text);
    offset = sign * (oh * 60 + om);
  }
  const year_month_day date{year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d))};
  if (!in.ended() || !date.ok() || h > 23 || mi > 59 || s > 60) return invalid(text);
  const auto t = sys_days(date) + hours(h) + minutes(mi - offset) + seconds(s) + microseconds(us);
  return duration_cast<microseconds>(t.time_since_epoch()).count();
}

}  // namespace caged::base
