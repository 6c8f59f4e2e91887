#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "core/runtime/loop.hpp"
#include "core/runtime/subprocess.hpp"
#include "tests/unit/runtime/run.hpp"

namespace caged::runtime {
namespace {

using caged::testing::run;

program shell(std::string text) {
  program p;
  p.argv = {"sh", "-c", std::move(text)};
  return p;
}

TEST(Subprocess, TellsOutputErrorsAndExitApart) {
  auto done = run_program(shell("echo out; echo err >&2; exit 3"));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->output, "out\n");
  EXPECT_EQ(done->errors, "err\n");
  EXPECT_EQ(done->exit_code, 3);
}

TEST(Subprocess, ASignalIs128PlusItsNumber) {
  auto done = run_program(shell("kill -KILL $$"));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->exit_code, 128 + SIGKILL);
}

TEST(Subprocess, AMissingProgramIsAnErrorThatNamesIt) {
  program p;
  p.argv = {"no-such-program-here"};
  auto done = run_program(p);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, errc::not_found);
  EXPECT_NE(done.error().message.find("no-such-program-here"), std::string::npos);
}

TEST(Subprocess, TheEnvironmentIsExactlyWhatIsGiven) {
  setenv("CAGED_TEST_SECRET", "leak", 1);
  program p = shell("env");
  p.env = {{"ONLY", "this"}};
  auto done = run_program(p);
  ASSERT_TRUE(done);
  EXPECT_NE(done->output.find("ONLY=this"), std::string::npos);
  EXPECT_EQ(done->output.find("leak"), std::string::npos);
}

TEST(Subprocess, ALateProgramIsKilledWithItsChildren) {
  char name[] = "/tmp/caged-test-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  close(fd);
  program p = shell(std::string("sleep 60 & echo $! > ") + name + "; wait");
  p.limit = std::chrono::seconds(1);
  auto done = run_program(p);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason, "program_too_slow");
  pid_t child = 0;
  std::ifstream(name) >> child;
  ASSERT_GT(child, 0);
  // An orphan stays a zombie where the machine's first process does not reap.
  const auto runs = [child] {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string number, program_name, state;
    return bool(stat >> number >> program_name >> state) && state != "Z" && state != "X";
  };
  for (int i = 0; i < 100 && runs(); ++i) usleep(10'000);
  EXPECT_FALSE(runs());
  unlink(name);
}

asio::awaitable<std::pair<std::size_t, result<void>>> read_all(std::shared_ptr<byte_source> source) {
  std::size_t total = 0;
  while (true) {
    auto piece = co_await source->read();
    if (!piece) co_return std::pair(total, result<void>(piece.error()));
    if (piece->empty()) co_return std::pair(total, result<void>());
    total += piece->size();
  }
}

TEST(Subprocess, StreamsMoreThanAPipeHolds) {
  asio::io_context context;
  asio::thread_pool pool(1);
  auto source =
      open_program(context.get_executor(), pool.get_executor(), shell("head -c 5000000 /dev/zero; echo noise >&2"));
  ASSERT_TRUE(source);
  auto [total, end] = run(context, read_all(*source));
  EXPECT_TRUE(end);
  EXPECT_EQ(total, 5'000'000u);
}

TEST(Subprocess, AFailureAfterTheLastByteIsAnError) {
  asio::io_context context;
  asio::thread_pool pool(1);
  auto source = open_program(context.get_executor(), pool.get_executor(), shell("echo some; echo because >&2; exit 2"));
  ASSERT_TRUE(source);
  auto [total, end] = run(context, read_all(*source));
  ASSERT_FALSE(end);
  EXPECT_EQ(total, 5u);
  EXPECT_NE(end.error().message.find("because"), std::string::npos);
}

}  // namespace
}  // namespace caged::runtime
