#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <caged/json.hpp>

#include <fstream>
#include <thread>

#include "program.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

// Ends the server after the last test, in whatever order they ran.
class ending : public ::testing::Environment {
 public:
  void TearDown() override { stop_server(); }
};
const auto* const registered = ::testing::AddGlobalTestEnvironment(new ending);

json listed() {
  const auto all = caged({"ls", "--json"});
  EXPECT_EQ(all.code, 0) << all.err;
  auto parsed = parse_json(all.out);
  EXPECT_TRUE(parsed.has_value()) << all.out;
  return parsed ? *parsed : json::array();
}

// A sandbox that is gone with the test.
class live_sandbox {
 public:
  live_sandbox() {
    auto made = caged({"up", "-q", "--no-start"});
    EXPECT_EQ(made.code, 0) << made.err;
    while (!made.out.empty() && made.out.back() == '\n') made.out.pop_back();
    id = made.out;
  }
  ~live_sandbox() { caged({"rm", "-q", id}); }
  std::string id;
};

TEST(Cli, UnknownSandboxesAreErrorsOfCaged) {
  const auto ran = caged({"exec", "cage_nope", "--", "true"});
  EXPECT_EQ(ran.code, 125);
  EXPECT_THAT(ran.err, HasSubstr("error:"));
  EXPECT_EQ(caged({"status", "cage_nope"}).code, 1);
  EXPECT_EQ(caged({"rm", "../../etc"}).code, 1);
}

TEST(Cli, RunRefusesWhatTheServerRefuses) {
  const auto ran = caged({"run", "--template", "no-such-template", "--", "true"});
  EXPECT_EQ(ran.code, 125);
  EXPECT_THAT(ran.err, HasSubstr("no-such-template"));
}

TEST(Cli, RunMirrorsTheExitCodeAndSaysWhatHappened) {
  const auto ran = caged({"run", "--", "exit 7"});
  EXPECT_EQ(ran.code, 7) << ran.err;
  EXPECT_EQ(ran.out, "");
  for (const char* part : {"exit code", "wall time", "CPU time", "memory peak", "files", "processes", "cost so far"}) {
    EXPECT_THAT(ran.err, HasSubstr(part));
  }
  EXPECT_EQ(caged({"run", "-q", "--", "kill -KILL $$"}).code, 137);
  EXPECT_EQ(caged({"run", "-q", "--", "/no/such/program", "x"}).code, 127);
}

TEST(Cli, RunLeavesNoSandboxBehind) {
  const auto before = listed().size();
  EXPECT_EQ(caged({"run", "-q", "--", "true"}).code, 0);
  json alive = json::array();
  for (const json& s : listed()) {
    if (s["status"] != "destroyed") alive.push_back(s);
  }
  EXPECT_LE(alive.size(), before);
}

TEST(Cli, StreamsStayApartAndBinaryClean) {
  const auto ran = caged({"run", "-q", "--", "echo out; echo err >&2"});
  EXPECT_EQ(ran.out, "out\n");
  EXPECT_EQ(ran.err, "err\n");
  std::string bytes;
  for (unsigned i = 0; i < 2'000'000; ++i) bytes += static_cast<char>((i * 7919) >> 5);
  const auto echoed = caged({"run", "-q", "--", "cat"}, bytes);
  EXPECT_EQ(echoed.code, 0) << echoed.err;
  EXPECT_TRUE(echoed.out == bytes) << echoed.out.size() << " bytes came back of " << bytes.size();
}

TEST(Cli, ATimeLimitIsOneHundredTwentyFour) {
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(caged({"run", "-q", "--time-limit", "1s", "--", "sleep 60"}).code, 124);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);
}

TEST(Cli, AnInterruptReachesTheCommand) {
  const auto& home = server();
  program running(home.root,
                  {"run", "-q", "--", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"}, "",
                  home.data);
  ASSERT_TRUE(running.prints("ready", 30s)) << running.wait(0s).err;
  running.send(SIGINT);
  const auto ended = running.wait(30s);
  EXPECT_EQ(ended.code, 9) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("caught"));
}

TEST(Cli, ASecondInterruptDestroys) {
  const auto& home = server();
  program running(home.root, {"run", "-q", "--", "trap '' INT; echo ready; while :; do sleep 0.1; done"}, "",
                  home.data);
  ASSERT_TRUE(running.prints("ready", 30s)) << running.wait(0s).err;
  running.send(SIGINT);
  std::this_thread::sleep_for(300ms);
  running.send(SIGINT);
  EXPECT_EQ(running.wait(30s).code, 130);
}

TEST(Cli, UpExecAndRm) {
  const live_sandbox box;
  EXPECT_EQ(caged({"exec", box.id, "--", "sh", "-c", "exit 3"}).code, 3);
  EXPECT_EQ(caged({"exec", "--env", "A=1,2", box.id, "--", "echo $A"}).out, "1,2\n");
  EXPECT_EQ(caged({"exec", box.id, "ls", "-d", "/"}).out, "/\n") << "a word that is also a command of caged";
  const auto as_json = caged({"exec", "--json", box.id, "--", "echo x; exit 4"});
  EXPECT_EQ(as_json.code, 4);
  EXPECT_EQ(parse_json(as_json.out)->at("stdout"), "x\n");
  EXPECT_THAT(caged({"status", box.id}).out, HasSubstr("running"));
  EXPECT_THAT(caged({"events", box.id, "--json"}).out, HasSubstr("\"type\""));
}

TEST(Cli, FilesAndFoldersGoInAndOut) {
  const live_sandbox box;
  const fs::path root = server().root / "cp";
  fs::create_directories(root / "tree/sub");
  std::string bytes;
  for (int i = 0; i < 3'000'000; ++i) bytes += static_cast<char>((i * 31) >> 3);
  std::ofstream(root / "data", std::ios::binary) << bytes;
  std::ofstream(root / "tree/sub/run") << "#!/bin/sh\n";
  fs::permissions(root / "tree/sub/run", fs::perms(0755));
  fs::create_symlink("sub/run", root / "tree/link");

  auto done = caged({"cp", (root / "data").string(), box.id + ":/tmp/in"});
  EXPECT_EQ(done.code, 0) << done.err;
  done = caged({"cp", box.id + ":/tmp/in", (root / "back").string()});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(read_file(root / "back") == bytes);

  done = caged({"cp", (root / "tree").string(), box.id + ":/tmp/tree"});
  EXPECT_EQ(done.code, 0) << done.err;
  done = caged({"cp", box.id + ":/tmp/tree", (root / "tree2").string()});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_file(root / "tree2/sub/run"), "#!/bin/sh\n");
  EXPECT_EQ(fs::status(root / "tree2/sub/run").permissions(), fs::perms(0755));
  EXPECT_EQ(fs::read_symlink(root / "tree2/link"), "sub/run");

  EXPECT_EQ(caged({"cp", box.id + ":/no/such", (root / "x").string()}).code, 1);
  EXPECT_FALSE(fs::exists(root / "x"));
  EXPECT_EQ(caged({"cp", "a", "b"}).code, 1);
}

TEST(Cli, KeysAreMadeUsedAndRevoked) {
  const auto made = caged({"keys", "create", "ci", "--scope", "read", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const json key = *parse_json(made.out);
  const std::string secret = key["key"].get<std::string>();
  EXPECT_EQ(caged({"ls", "--api-key", secret}).code, 0);
  EXPECT_EQ(caged({"up", "--no-start", "--api-key", secret}).code, 1);
  EXPECT_EQ(caged({"keys", "revoke", key["info"]["id"].get<std::string>()}).code, 0);
  EXPECT_EQ(caged({"ls", "--api-key", secret}).code, 1);
}

TEST(Cli, EveryAnswerIsOneDocument) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"ls"}, {"plugins"}, {"keys", "list"}, {"templates"}, {"capabilities"}, {"version"}, {"doctor"}}) {
    auto with = words;
    with.push_back("--json");
    const auto answered = caged(with);
    EXPECT_TRUE(parse_json(answered.out).has_value()) << words[0] << ": " << answered.out << answered.err;
  }
}

}  // namespace
}  // namespace caged::testing
