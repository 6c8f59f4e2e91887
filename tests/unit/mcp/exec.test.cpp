// terminal_exec and the process tools through the real program.
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "tests/unit/mcp/mcp_client.hpp"

namespace caged::test {
namespace {

class mcp_exec : public mcp_workspace {
 protected:
  void SetUp() override {
    mcp_workspace::SetUp();
    client_ = std::make_unique<mcp_client>(
        root_, std::vector<std::string>{},
        std::map<std::string, std::string>{{"CAGED_API_KEY", "top-secret"}, {"LD_BIND_NOW", "1"}});
    client_->initialize();
  }
  void TearDown() override {
    client_.reset();
    mcp_workspace::TearDown();
  }
  json run(const std::string& command, json more = json::object()) {
    more["command"] = command;
    return client_->call("terminal_exec", std::move(more));
  }
  std::unique_ptr<mcp_client> client_;
};

TEST_F(mcp_exec, refuses_bad_arguments_with_advice) {
  failed_with(client_->call("terminal_exec"), "command is missing");
  failed_with(run("  \n"), "blank");
  failed_with(run("true", {{"timeout", 0}}), "timeout is not a whole number");
  failed_with(run("true", {{"timeout", "5"}}), "timeout");
  failed_with(run("true", {{"cwd", "missing"}}), "No such file");
  failed_with(run("true", {{"env", {{"LD_PRELOAD", "x"}}}}), "unknown argument \"env\"");
  failed_with(run(std::string("a\0b", 3)), "NUL");
}

TEST_F(mcp_exec, gives_output_apart_and_tells_how_it_ended) {
  const json fine = run("echo out; echo err >&2");
  EXPECT_EQ("out\nSTDERR:\nerr\n", fine.at("content").at(0).at("text"));
  EXPECT_FALSE(fine.contains("isError"));
  const json three = run("exit 3");
  EXPECT_EQ("exit: 3", three.at("content").at(0).at("text"));
  EXPECT_TRUE(three.at("isError"));
  EXPECT_EQ(3, three.at("structuredContent").at("exit_code"));
  const json killed = run("kill -9 $$");
  EXPECT_EQ("SIGKILL", killed.at("structuredContent").at("signal"));
  EXPECT_TRUE(killed.at("structuredContent").at("exit_code").is_null());
  EXPECT_EQ("(no output)", run("true").at("content").at(0).at("text"));
}

TEST_F(mcp_exec, passes_no_secret_of_its_own_environment) {
  const std::string env = run("env").at("structuredContent").at("stdout").get<std::string>();
  EXPECT_EQ(std::string::npos, env.find("top-secret"));
  EXPECT_EQ(std::string::npos, env.find("LD_BIND_NOW"));
  EXPECT_NE(std::string::npos, env.find("PATH="));
  mcp_client passing(root_, {"--pass-env", "CAGED_TEST_TOKEN"}, {{"CAGED_TEST_TOKEN", "given"}});
  EXPECT_EQ("given\n", passing.text("terminal_exec", {{"command", "echo $CAGED_TEST_TOKEN"}}));
}

TEST_F(mcp_exec, kills_the_whole_tree_at_its_timeout) {
  const auto began = std::chrono::steady_clock::now();
  const json result =
      run("trap '' TERM; (setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' &) ; sleep 983 & echo $!; wait",
          {{"timeout", 1}});
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  EXPECT_TRUE(result.at("structuredContent").at("timed_out"));
  failed_with(result, "timed out after 1 s");
  EXPECT_TRUE(ends_soon(std::stoi(result.at("structuredContent").at("stdout").get<std::string>())));
}

TEST_F(mcp_exec, kills_the_command_of_a_cancelled_request_and_stays_silent) {
  client_->say(
      R"({"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"echo $$ > pid; sleep 982"}}})");
  for (int i = 0; i < 300 && get("pid").empty(); ++i) ::usleep(10000);
  const pid_t pid = std::stoi(get("pid"));
  ASSERT_TRUE(process_lives(pid));
  client_->say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x","reason":"enough"}})");
  EXPECT_TRUE(ends_soon(pid));
  client_->say(R"({"jsonrpc":"2.0","id":"after","method":"ping"})");
  EXPECT_EQ("after", client_->hear().at("id"));
}

TEST_F(mcp_exec, keeps_head_and_tail_of_a_flood) {
  const json result = run("echo first; yes | head -c 50000000; echo; echo last");
  const json about = result.at("structuredContent");
  const std::string out = about.at("stdout").get<std::string>();
  EXPECT_LE(out.size(), 42000u);
  EXPECT_EQ(0u, out.find("first\n"));
  EXPECT_NE(std::string::npos, out.find("last\n"));
  EXPECT_NE(std::string::npos, out.find("bytes left out"));
  EXPECT_EQ(50000012, about.at("stdout_bytes"));
  // What was left out is there in pages.
  const auto page = [&](const json& id, std::int64_t from) {
    return client_->call("process_read", {{"id", id}, {"offset", from}}).at("structuredContent");
  };
  EXPECT_EQ(0u, page(about.at("id"), 0).at("output").get<std::string>().find("first\ny\ny\n"));
  EXPECT_EQ(30'040'000, page(about.at("id"), 30'000'000).at("next_offset"));
  EXPECT_NE(std::string::npos, page(about.at("id"), 49'999'900).at("output").get<std::string>().find("last\n"));
  // Beyond 64 MiB only the latest is kept, and a reader is told what is not.
  const json more = run("yes | head -c 80000000; echo last").at("structuredContent");
  EXPECT_EQ(60'000'000, page(more.at("id"), 60'000'000).at("from"));
  const json gone = client_->call("process_read", {{"id", more.at("id")}, {"offset", 70'000'000}});
  EXPECT_NE(std::string::npos, gone.at("content").at(0).at("text").get<std::string>().find("older bytes are gone"));
}

TEST_F(mcp_exec, shows_only_text_a_model_can_read) {
  const json result = run(R"(printf '\033[31mred\033[0m \033]0;title\007x\000y \377\n')");
  EXPECT_EQ("red xy \xef\xbf\xbd\n", result.at("structuredContent").at("stdout"));
}

TEST_F(mcp_exec, does_not_wait_for_a_child_that_keeps_the_output) {
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ("started\n", run("sleep 30 & echo started").at("structuredContent").at("stdout"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

TEST_F(mcp_exec, reports_progress_only_when_asked) {
  client_->say(
      R"({"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"terminal_exec","_meta":{"progressToken":"t"},"arguments":{"command":"for i in 1 2 3; do sleep 0.6; echo step $i; done"}}})");
  const json reply = client_->answer("p");
  EXPECT_TRUE(reply.contains("result"));
  double last = -1;
  ASSERT_FALSE(client_->others.empty());
  for (const json& note : client_->others) {
    EXPECT_EQ("notifications/progress", note.at("method"));
    EXPECT_EQ("t", note.at("params").at("progressToken"));
    EXPECT_GT(note.at("params").at("progress").get<double>(), last);
    last = note.at("params").at("progress").get<double>();
  }
  client_->others.clear();
  run("sleep 0.6; echo quiet");
  EXPECT_TRUE(client_->others.empty());
}

TEST_F(mcp_exec, talks_with_a_long_running_process) {
  failed_with(client_->call("process_read", {{"id", "p-00000000000000000000000000000000"}}), "no process");
  failed_with(client_->call("process_signal", {{"id", "1"}}), "no process");
  const std::string id =
      client_->call("process_start", {{"command", "while read line; do echo \"got $line\"; done; echo end"}})
          .at("structuredContent")
          .at("id")
          .get<std::string>();
  EXPECT_FALSE(client_->call("process_write", {{"id", id}, {"input", "one\n"}}).value("isError", false));
  std::string output;
  for (int i = 0; i < 300 && output.empty(); ++i, ::usleep(10000))
    output = client_->call("process_read", {{"id", id}}).at("structuredContent").at("output").get<std::string>();
  EXPECT_EQ("got one\n", output);
  failed_with(client_->call("process_signal", {{"id", id}, {"signal", "SIGNOPE"}}), "no signal");
  client_->call("process_write", {{"id", id}, {"input", "two\n"}, {"close", true}});
  const json end = client_->call("process_read", {{"id", id}, {"offset", 8}, {"wait", 10}}).at("structuredContent");
  EXPECT_EQ("got two\nend\n", end.at("output"));
  EXPECT_FALSE(end.at("running"));
  EXPECT_EQ(0, end.at("exit_code"));
  failed_with(client_->call("process_write", {{"id", id}, {"input", "x"}}), "input is closed");
  EXPECT_EQ(1u, client_->call("process_list").at("structuredContent").at("processes").size());
}

TEST_F(mcp_exec, bounds_what_waits_for_a_process_that_never_reads) {
  const std::string id =
      client_->call("process_start", {{"command", "sleep 981"}}).at("structuredContent").at("id").get<std::string>();
  json refused = json::object();
  for (int i = 0; i < 10 && !refused.value("isError", false); ++i)
    refused = client_->call("process_write", {{"id", id}, {"input", std::string(300'000, 'x')}});
  failed_with(refused, "has not read");
  EXPECT_FALSE(client_->call("process_signal", {{"id", id}, {"signal", "KILL"}}).value("isError", false));
  EXPECT_EQ("SIGKILL", client_->call("process_read", {{"id", id}, {"wait", 10}}).at("structuredContent").at("signal"));
}

}  // namespace
}  // namespace caged::test
