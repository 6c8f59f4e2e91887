#include <caged/base64.hpp>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Exec : public ServerTest {
 protected:
  void SetUp() override { id = make(); }
  std::string route(const std::string& rest) const { return "/v1/sandboxes/" + id + rest; }
  std::string id;
};

TEST_F(Exec, KeepsStreamsApartAndTellsTheExit) {
  const json done = exec(id, "echo out; echo err >&2; exit 3");
  EXPECT_EQ(done["stdout"], "out\n");
  EXPECT_EQ(done["stderr"], "err\n");
  EXPECT_EQ(done["exit_code"], 3);
  EXPECT_TRUE(done["signal"].is_null());
  EXPECT_EQ(done["truncated"], false);
  EXPECT_NE(done["output"].get<std::string>().find("err\n"), std::string::npos);
}

TEST_F(Exec, ShellSyntaxAndArgumentVectorsBothWork) {
  EXPECT_EQ(exec(id, "A=1 sh -c 'echo $A' | tr 1 2 > f; cat f")["stdout"], "2\n");
  EXPECT_EQ(call("POST", route("/exec"), {{"argv", {"printf", "%s|", "a b", "$HOME", ";id"}}})["stdout"],
            "a b|$HOME|;id|");
  const json missing = call("POST", route("/exec"), {{"command", "no-such-program-here"}});
  EXPECT_EQ(missing["exit_code"], 127);
  EXPECT_EQ(
      refused("POST", route("/exec"), {{"argv", {"no-such-program-here"}}}).message.find("no-such-program-here") ==
          std::string::npos,
      false);
  EXPECT_EQ(refused("POST", route("/exec"), {{"command", "  "}}).path, "/command");
  EXPECT_EQ(refused("POST", route("/exec"), json::object()).code, errc::invalid_argument);
  EXPECT_EQ(refused("POST", route("/exec"), {{"command", "a"}, {"argv", {"b"}}}).code, errc::invalid_argument);
}

TEST_F(Exec, TakesStdinFolderEnvironmentAndUser) {
  EXPECT_EQ(exec(id, "cat; pwd; echo $X", {{"stdin", "typed\n"}, {"cwd", "/tmp"}, {"env", {{"X", "y"}}}})["stdout"],
            "typed\n/tmp\ny\n");
  EXPECT_EQ(exec(id, "id -un", {{"user", "nobody"}})["stdout"], "nobody\n");
}

TEST_F(Exec, BytesSurvive) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const json done = exec(id, "cat", {{"stdin_base64", base64_encode(all)}});
  EXPECT_EQ(base64_decode(done.value("stdout_base64", "")), all);
}

TEST_F(Exec, ASignalIsTold) {
  const json done = exec(id, "kill -SEGV $$");
  EXPECT_TRUE(done["exit_code"].is_null());
  EXPECT_EQ(done["signal"], "SIGSEGV");
}

TEST_F(Exec, ATimeOutKillsTheWholeTree) {
  const auto start = std::chrono::steady_clock::now();
  const json done =
      exec(id, "setsid sh -c 'sleep 31337' & (setsid setsid sleep 31337 &) ; sleep 31337", {{"timeout", 0.5}});
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(done["timed_out"], true);
  EXPECT_LT(took, std::chrono::seconds(4));
  EXPECT_NE(exec(id, "pgrep -f 'sleep 3133[7]'")["exit_code"], 0);
}

TEST_F(Exec, ABackgroundChildDoesNotHoldTheAnswer) {
  const auto start = std::chrono::steady_clock::now();
  const json done = exec(id, "sleep 20 & echo started");
  EXPECT_EQ(done["stdout"], "started\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(Exec, OutputBeyondTheLimitIsCountedNotKept) {
  const json done = exec(id, "head -c 5000000 /dev/zero | tr '\\0' x", {{"max_output_bytes", 1000}});
  EXPECT_EQ(done["stdout"].get<std::string>().size(), 1000u);
  EXPECT_EQ(done["truncated"], true);
  EXPECT_EQ(done["dropped_bytes"], 5000000 - 1000);
}

TEST_F(Exec, BackgroundProcessesAreListedReadSignalledAndOutliveTheCall) {
  const json started = call(
      "POST", route("/exec"),
      {{"command", "echo begun; trap 'echo caught; exit 5' TERM; while :; do sleep 0.1; done"}, {"background", true}});
  const std::string process = started["process_id"].get<std::string>();
  EXPECT_EQ(call("GET", route("/processes/" + process))["running"], true);
  EXPECT_EQ(refused("GET", route("/processes/nosuch")).code, errc::not_found);
  call("POST", route("/processes/" + process + "/signal"), {{"signal", "SIGTERM"}});
  http::client_request r;
  r.target = route("/processes/" + process + "/output");
  auto items = http.events(r);
  ASSERT_TRUE(items) << describe(items.error());
  std::string out;
  json exit;
  while (true) {
    auto item = items->next();
    ASSERT_TRUE(item) << describe(item.error());
    if (!*item) break;
    const json data = json::parse((*item)->data);
    if ((*item)->event == "stdout") out += data.value("data", "");
    if ((*item)->event == "exit") exit = data;
  }
  EXPECT_EQ(out, "begun\ncaught\n");
  EXPECT_EQ(exit["exit_code"], 5);
}

TEST_F(Exec, AStreamGivesOutputAsItComesAndThenTheExit) {
  http::client_request r;
  r.method = "POST";
  r.target = route("/exec/stream");
  r.fields = {{"content-type", "application/json"}};
  r.body = json{{"command", "echo one; sleep 1; echo two >&2; echo __CAGED_EXIT_0__; exit 4"}}.dump();
  const auto start = std::chrono::steady_clock::now();
  auto items = http.events(r);
  ASSERT_TRUE(items) << describe(items.error());
  std::vector<std::string> order;
  std::chrono::steady_clock::duration first{};
  std::string out, err;
  json exit;
  while (true) {
    auto item = items->next();
    ASSERT_TRUE(item) << describe(item.error());
    if (!*item) break;
    const json data = json::parse((*item)->data);
    if ((*item)->event == "stdout" && out.empty()) first = std::chrono::steady_clock::now() - start;
    if ((*item)->event == "stdout") out += data.value("data", "");
    if ((*item)->event == "stderr") err += data.value("data", "");
    if ((*item)->event == "exit") exit = data;
    order.push_back((*item)->event);
  }
  EXPECT_EQ(order.front(), "start");
  EXPECT_EQ(order.back(), "exit");
  EXPECT_EQ(out, "one\n__CAGED_EXIT_0__\n");
  EXPECT_EQ(err, "two\n");
  EXPECT_EQ(exit["exit_code"], 4);
  EXPECT_LT(first, std::chrono::milliseconds(900));
}

TEST_F(Exec, AConversationTakesStdinSignalsAndCloses) {
  auto ws = http.websocket(route("/exec/ws"), "exec");
  ASSERT_TRUE(ws) << describe(ws.error());
  EXPECT_EQ(ws->subprotocol(), "exec");
  stream_message m{true, json{{"command", "cat; echo ended >&2; exit 6"}}.dump()};
  ASSERT_TRUE(ws->write(m));
  m = {false, std::string("\0\xff bytes\n", 9)};
  ASSERT_TRUE(ws->write(m));
  m = {true, R"({"type":"stdin","data":"text\n"})"};
  ASSERT_TRUE(ws->write(m));
  m = {true, R"({"type":"nonsense"})"};
  ASSERT_TRUE(ws->write(m));
  m = {true, R"({"type":"stdin_close"})"};
  ASSERT_TRUE(ws->write(m));
  std::string out, err;
  json exit;
  bool told = false;
  while (true) {
    auto got = ws->read(std::chrono::seconds(10));
    ASSERT_TRUE(got) << describe(got.error());
    if (!*got) break;
    if (!(*got)->text) {
      ((*got)->data[0] == '\1' ? out : err) += (*got)->data.substr(1);
      continue;
    }
    const json message = json::parse((*got)->data);
    told |= message["type"] == "error" && message["reason"] == "bad_frame";
    if (message["type"] == "exit") exit = message;
  }
  EXPECT_EQ(out, std::string("\0\xff bytes\ntext\n", 14));
  EXPECT_EQ(err, "ended\n");
  EXPECT_TRUE(told);
  EXPECT_EQ(exit["exit_code"], 6);
  EXPECT_EQ(ws->close_code(), 1000);
}

TEST_F(Exec, PingsAreAnsweredWhileALongCommandRuns) {
  auto slow = host->client();
  http::client_request r;
  r.method = "POST";
  r.target = route("/exec/stream");
  r.fields = {{"content-type", "application/json"}};
  r.body = json{{"command", "sleep 3"}}.dump();
  auto running = slow.events(r);
  ASSERT_TRUE(running);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) call("GET", "/v1/sandboxes/" + id);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(Exec, TheServersEnvironmentNeverLeaksIn) {
  const std::string env =
      exec(id, "env; cat /proc/1/environ 2>/dev/null; cat /proc/self/environ")["stdout"].get<std::string>();
  EXPECT_EQ(env.find("CAGED_TEST_SECRET"), std::string::npos);
  EXPECT_EQ(env.find("GTEST"), std::string::npos);
  EXPECT_NE(env.find("CAGED_SANDBOX_ID=" + id), std::string::npos);
}

}  // namespace
}  // namespace caged::testing
