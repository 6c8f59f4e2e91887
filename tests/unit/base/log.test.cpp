#include "core/base/log.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>
#include <caged/json.hpp>

namespace caged::base {
namespace {

// What is written while the object lives.
class captured {
 public:
  explicit captured(log_options o) {
    if (::pipe2(pipe_, O_CLOEXEC) != 0) std::abort();
    o.fd = pipe_[1];
    start_log(o);
  }
  ~captured() {
    start_log({});
    for (const int fd : pipe_) {
      if (fd >= 0) ::close(fd);
    }
  }
  std::string text() {
    ::close(std::exchange(pipe_[1], -1));
    std::string all(65536, '\0');
    const ssize_t n = ::read(pipe_[0], all.data(), all.size());
    all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return all;
  }

 private:
  int pipe_[2];
};

TEST(log, lines_cannot_be_forged) {
  captured c({log_level::info, log_format::text, 2});
  log(log_level::info, "vmm.jail",
      "one\n2026-01-01T00:00:00.000000Z error host: forged\x1b[2J\r\x7f\xff caf\xc3\xa9 \xc2\x9b"
      "31m");
  const std::string text = c.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find(" info  vmm.jail: one\\x0a2026"), std::string::npos) << text;
  EXPECT_NE(text.find("\\x1b[2J\\x0d\\x7f\\xff caf\xc3\xa9 \\xc2\\x9b31m"), std::string::npos) << text;
}

TEST(log, levels_are_kept) {
  captured c({log_level::warn, log_format::text, 2});
  log(log_level::debug, "a", "no");
  log(log_level::info, "a", "no");
  log(log_level::warn, "a", "yes");
  log(log_level::error, "a", "yes");
  EXPECT_FALSE(log_enabled(log_level::info));
  const std::string text = c.text();
  EXPECT_EQ(text.find("no"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(log, json_lines_are_json) {
  captured c({log_level::debug, log_format::json_lines, 2});
  log(log_level::error, "rest", "said \"no\" {} %s\n");
  const std::string text = c.text();
  auto line = parse_json(text);
  ASSERT_TRUE(line) << text;
  EXPECT_EQ(line->at("level"), "error");
  EXPECT_EQ(line->at("channel"), "rest");
  EXPECT_EQ(line->at("message"), "said \"no\" {} %s\\x0a");
}

TEST(log, level_names_are_read) {
  EXPECT_EQ(parse_log_level("warning").value(), log_level::warn);
  EXPECT_EQ(parse_log_level("debug").value(), log_level::debug);
  EXPECT_FALSE(parse_log_level("loud"));
  EXPECT_FALSE(parse_log_level(""));
}

}  // namespace
}  // namespace caged::base
