#include <core/cli/render.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <core/cli/event_text.hpp>
#include <core/cli/run_summary.hpp>
#include <core/cli/sandbox_calls.hpp>

namespace caged::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Render, NothingASandboxSaysReachesTheTerminalAsControl) {
  EXPECT_EQ(printable("\x1b]0;owned\x07"), "\\x1b]0;owned\\x07");
  EXPECT_EQ(printable("a\nb\rc\td"), "a\\x0ab\\x0dc\\x09d");
  EXPECT_EQ(printable_lines("a\nb\tc\r"), "a\nb\tc\\x0d");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m")
      << "the one-byte CSI of C1";
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "gpj.exe"),
            "\\xe2\\x80\\xaegpj.exe")
      << "right-to-left override";
  EXPECT_EQ(printable("\xff\xc0\xaf"), "\\xff\\xc0\\xaf");
  EXPECT_EQ(printable("é 漢 🙂"), "é 漢 🙂");
  const json event = {{"id", 1}, {"type", "\x1b[2J"}, {"sandbox_id", "x\ny"}, {"data", {{"\x1b", "\x1b[31m"}}}};
  EXPECT_THAT(event_line(event, colors::off), Not(HasSubstr("\x1b")));
  EXPECT_THAT(sandbox_table(json::array({{{"id", "a\x1b[2J"}, {"status", "running"}}}), colors::off),
              Not(HasSubstr("\x1b")));
}

TEST(Render, Amounts) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(50ull << 20), "50.0 MiB");
  EXPECT_EQ(human_bytes(~0ull), "16.0 EiB");
  EXPECT_EQ(human_duration(std::chrono::milliseconds(7)), "7 ms");
  EXPECT_EQ(human_duration(std::chrono::milliseconds(12345)), "12.3 s");
  EXPECT_EQ(human_duration(std::chrono::seconds(245)), "4m 05s");
  EXPECT_EQ(human_duration(std::chrono::seconds(7380)), "2h 03m");
  EXPECT_EQ(human_dollars(0), "$0.00");
  EXPECT_EQ(human_dollars(0.00123), "$0.001230");
  EXPECT_EQ(human_dollars(3.5), "$3.50");
}

TEST(Render, TablesAlignByWidthAndColourOnlyWhenAsked) {
  table t({{"NAME"}, {"N", column::side::right}, {"X"}});
  t.add({"漢", "1", "a"}, {tint::green});
  t.add({"abcd", "100", "b"});
  EXPECT_EQ(t.text(colors::off), "NAME    N  X\n漢      1  a\nabcd  100  b\n");
  EXPECT_THAT(t.text(colors::on), HasSubstr("\x1b[32m漢\x1b[0m  "));
}

TEST(Render, FieldsThatAreMissing) {
  EXPECT_EQ(field(json(), "x"), "-");
  EXPECT_EQ(field({{"x", nullptr}}, "x"), "-");
  EXPECT_EQ(field({{"x", ""}}, "x"), "-");
  EXPECT_EQ(field({{"x", json::array()}}, "x"), "-");
  EXPECT_EQ(field({{"x", {"a", "b"}}}, "x"), "a,b");
  EXPECT_EQ(field({{"x", 2}}, "x"), "2");
}

TEST(Render, ErrorsSayWhatToDo) {
  EXPECT_EQ(error_text(fail(errc::not_found, "r", "gone", "Look.", "/a"), colors::off),
            "error: gone (at /a)\n  Look.\n");
}

run_facts facts() {
  run_facts f;
  f.sandbox_id = "cage_1";
  f.exit_code = 3;
  f.exit =
      json::parse(R"({"exit_code": 3, "duration_ms": 1500, "usage": {"user_ms": 9, "system_ms": 9, "max_rss_kb": 1}})");
  f.metrics =
      json::parse(R"({"cpu_user_ms": 1000, "cpu_system_ms": 250, "memory_peak_bytes": 1048576, "tasks_started": 12})");
  f.changes = json::parse(
      R"({"created": ["/a"], "modified": [], "deleted": [], "counts": {"created": 5, "modified": 2, "deleted": 0}})");
  f.sandbox = json::parse(R"({"cost": 0.1, "total_cost": 0.25})");
  f.total = std::chrono::milliseconds(2000);
  return f;
}

TEST(Summary, SaysWhatTheHostSaw) {
  const json s = summary_document(facts());
  EXPECT_EQ(s["exit_code"], 3);
  EXPECT_EQ(s["cpu_ms"], 1250);
  EXPECT_EQ(s["memory_peak_bytes"], 1048576);
  EXPECT_EQ(s["files"], json::parse(R"({"created": 5, "modified": 2, "deleted": 0})"));
  EXPECT_EQ(s["processes"], 12);
  EXPECT_EQ(s["cost"], 0.25);
  const std::string text = summary_text(s, colors::off);
  for (const char* part :
       {"exit code", "3", "1.5 s", "1.2 s", "1.00 MiB", "5 created, 2 changed, 0 deleted", "12", "$0.2500", "cage_1"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(Summary, WhatIsNotKnownIsNotZero) {
  run_facts f;
  f.sandbox_id = "cage_1";
  f.exit_code = 137;
  f.exit = json::parse(R"({"exit_code": null, "signal": "SIGKILL"})");
  const json s = summary_document(f);
  for (const char* key : {"wall_ms", "cpu_ms", "memory_peak_bytes", "processes", "cost"})
    EXPECT_TRUE(s[key].is_null()) << key;
  const std::string text = summary_text(s, colors::off);
  EXPECT_THAT(text, HasSubstr("137 (SIGKILL)"));
  EXPECT_THAT(text, HasSubstr("not measured"));
}

}  // namespace
}  // namespace caged::cli
