// The program as a client sees it: framing, eras, hostile input, parallel requests, its end.
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unit/mcp/mcp_client.hpp"

namespace caged::test {
namespace {

using mcp_stdio = mcp_workspace;

TEST_F(mcp_stdio, answers_every_malformed_line_and_goes_on) {
  mcp_client c(root_);
  const std::vector<std::pair<std::string, int>> cases{
      {"nonsense", -32700},
      {"{", -32700},
      {"\"text\"", -32600},
      {"{}", -32600},
      {R"({"jsonrpc":"1.0","id":1,"method":"ping"})", -32600},
      {R"({"jsonrpc":"2.0","id":null,"method":"ping"})", -32600},
      {R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})", -32600},
      {R"({"jsonrpc":"2.0","id":{},"method":"ping"})", -32600},
      {R"({"jsonrpc":"2.0","id":1,"method":7})", -32600},
      {R"({"jsonrpc":"2.0","id":1,"method":"ping","params":[]})", -32600},
      {R"({"jsonrpc":"2.0","id":1,"id":2,"method":"ping"})", -32700},
      {R"({"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}})", -32700},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}", -32700},
      {R"({"jsonrpc":"2.0","id":1,"method":"\ud800"})", -32700},
      {R"({"jsonrpc":"2.0","id":1,"method":"no/such"})", -32601},
      {R"({"jsonrpc":"2.0","id":1,"method":"server/discover"})", -32601},
      {R"({"jsonrpc":"2.0","id":1,"method":"tools/call"})", -32602},
      {R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nope"}})", -32602},
      {R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"file_read","arguments":[]}})", -32602},
      {R"({"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":""}})", -32602},
      {R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{}})", -32602},
      {"[]", -32600},
      {R"([{"jsonrpc":"2.0","id":1,"method":"ping"}])", -32600},
      {std::string(200, '['), -32700},
  };
  for (const auto& [line, code] : cases) {
    c.say(line);
    const json reply = c.hear();
    ASSERT_TRUE(reply.is_object()) << line;
    EXPECT_EQ(code, reply.value("error", json::object()).value("code", 0)) << line << " -> " << reply;
    EXPECT_EQ("2.0", reply.value("jsonrpc", "")) << line;
  }
  EXPECT_EQ(json::object(), c.request("ping"));
}

TEST_F(mcp_stdio, never_answers_notifications_and_blank_lines) {
  mcp_client c(root_);
  c.say("");
  c.say("  \r");
  c.say(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
  c.say(R"({"jsonrpc":"2.0","method":"no/such","params":{"x":1}})");
  c.say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}})");
  c.say(R"({"jsonrpc":"2.0","id":5,"result":{}})");
  c.say(R"({"jsonrpc":"2.0","id":"last","method":"ping"})");
  EXPECT_EQ("last", c.hear().at("id"));
}

TEST_F(mcp_stdio, takes_lines_in_any_pieces_and_skips_one_that_is_too_long) {
  mcp_client c(root_);
  const std::string ping = R"({"jsonrpc":"2.0","id":1,"method":"ping"})"
                           "\r\n";
  for (const char byte : ping) c.say_raw(std::string(1, byte));
  EXPECT_EQ(1, c.hear().at("id"));
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) c.say_raw(piece);
  c.say_raw("\n" + ping);
  const json refused = c.hear();
  EXPECT_EQ(-32700, refused.at("error").at("code"));
  EXPECT_TRUE(refused.at("id").is_null());
  EXPECT_EQ(1, c.hear().at("id"));
}

TEST_F(mcp_stdio, agrees_on_the_asked_revision_and_never_on_a_newer_one) {
  for (const auto& [asked, given] : std::vector<std::pair<std::string, std::string>>{{"2024-11-05", "2024-11-05"},
                                                                                     {"2025-03-26", "2025-03-26"},
                                                                                     {"2025-06-18", "2025-06-18"},
                                                                                     {"2025-11-25", "2025-11-25"},
                                                                                     {"2026-07-28", "2025-11-25"},
                                                                                     {"1999-01-01", "2025-11-25"}}) {
    mcp_client c(root_);
    const json result = c.request("initialize", {{"protocolVersion", asked},
                                                 {"capabilities", json::object()},
                                                 {"clientInfo", {{"name", "t"}, {"version", "1"}}}});
    EXPECT_EQ(given, result.at("protocolVersion")) << asked;
    EXPECT_EQ("caged-mcp-server", result.at("serverInfo").at("name"));
    const json tool = c.request("tools/list").at("tools").at(0);
    EXPECT_EQ(given >= "2025-03-26", tool.contains("annotations")) << given;
    EXPECT_EQ(given >= "2025-06-18", tool.contains("outputSchema")) << given;
    const json called = c.call("file_list");
    EXPECT_EQ(given >= "2025-06-18", called.contains("structuredContent")) << given;
    // Arguments that do not fit: an error of the protocol until 2025-06-18, a result since.
    const json bad = c.call("file_read");
    EXPECT_EQ(given < "2025-11-25", bad.contains("error")) << given << bad;
  }
}

TEST_F(mcp_stdio, takes_batches_only_where_the_revision_has_them) {
  mcp_client c(root_);
  c.initialize("2025-03-26");
  c.say(
      R"([{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"echo x"}}}])");
  const json answers = c.hear();
  ASSERT_TRUE(answers.is_array());
  ASSERT_EQ(2u, answers.size());
  EXPECT_EQ(1, answers[0].at("id"));
  EXPECT_EQ(2, answers[1].at("id"));
  c.say(R"([{"jsonrpc":"2.0","id":1,"method":"ping"},7])");
  EXPECT_EQ(-32600, c.hear().at("error").at("code"));
  c.say(R"([{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}])");
  EXPECT_EQ(-32600, c.hear().at("error").at("code"));
}

json envelope(const std::string& revision = "2026-07-28") {
  return {{"io.modelcontextprotocol/protocolVersion", revision},
          {"io.modelcontextprotocol/clientCapabilities", json::object()}};
}

TEST_F(mcp_stdio, serves_the_stateless_era_on_the_same_pipe) {
  put("a", "text");
  mcp_client c(root_);
  const json about = c.request("server/discover", {{"_meta", envelope()}});
  EXPECT_EQ(json::array({"2026-07-28"}), about.at("supportedVersions"));
  EXPECT_EQ("complete", about.at("resultType"));
  EXPECT_EQ("caged-mcp-server", about.at("_meta").at("io.modelcontextprotocol/serverInfo").at("name"));
  EXPECT_EQ(0, about.at("ttlMs"));
  c.initialize("2024-11-05");
  const json read =
      c.request("tools/call", {{"name", "file_read"}, {"arguments", {{"path", "a"}}}, {"_meta", envelope()}});
  EXPECT_EQ("complete", read.at("resultType"));
  EXPECT_EQ("text", read.at("structuredContent").at("content"));
  EXPECT_FALSE(c.call("file_read", {{"path", "a"}}).contains("resultType"));
  const json list = c.request("tools/list", {{"_meta", envelope()}});
  EXPECT_EQ("public", list.at("cacheScope"));
  for (const char* gone : {"initialize", "ping", "logging/setLevel", "resources/subscribe"})
    EXPECT_EQ(-32601, c.request(gone, {{"_meta", envelope()}}).at("error").at("code")) << gone;
  const json unsupported = c.request("tools/list", {{"_meta", envelope("2030-01-01")}}).at("error");
  EXPECT_EQ(-32022, unsupported.at("code"));
  EXPECT_EQ("2030-01-01", unsupported.at("data").at("requested"));
  EXPECT_EQ(json::array({"2026-07-28"}), unsupported.at("data").at("supported"));
  json bare = envelope();
  bare.erase("io.modelcontextprotocol/clientCapabilities");
  EXPECT_EQ(-32602, c.request("tools/list", {{"_meta", bare}}).at("error").at("code"));
  EXPECT_EQ(
      -32602,
      c.request("tools/list", {{"_meta", {{"io.modelcontextprotocol/protocolVersion", 7}}}}).at("error").at("code"));
}

TEST_F(mcp_stdio, keeps_a_subscription_open_until_it_is_cancelled) {
  mcp_client c(root_);
  const json listen{{"jsonrpc", "2.0"},
                    {"id", "s"},
                    {"method", "subscriptions/listen"},
                    {"params", {{"_meta", envelope()}, {"notifications", {{"toolsListChanged", true}}}}}};
  c.say(listen.dump());
  const json first = c.hear();
  EXPECT_EQ("notifications/subscriptions/acknowledged", first.at("method"));
  EXPECT_EQ("s", first.at("params").at("_meta").at("io.modelcontextprotocol/subscriptionId"));
  c.say(listen.dump());
  EXPECT_EQ(-32600, c.hear().at("error").at("code"));  // the id is in use
  c.say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s"}})");
  c.say(listen.dump());
  EXPECT_TRUE(c.hear().contains("method"));
  c.close_input();
  EXPECT_EQ(0, c.wait(400ms)) << "an open subscription holds nothing back";
}

TEST_F(mcp_stdio, lets_a_slow_tool_block_nobody_and_tells_ids_apart) {
  put("a", "x");
  mcp_client c(root_);
  c.say(
      R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"sleep 0.4; echo slow"}}})");
  c.say(R"({"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"file_read","arguments":{"path":"a"}}})");
  c.say(R"({"jsonrpc":"2.0","id":1,"method":"ping"})");
  EXPECT_EQ("1", c.hear().at("id"));
  EXPECT_EQ(-32600, c.hear().at("error").at("code"));
  const json slow = c.hear();
  EXPECT_EQ(1, slow.at("id"));
  EXPECT_EQ("slow\n", slow.at("result").at("content").at(0).at("text"));
}

TEST_F(mcp_stdio, answers_what_was_asked_before_the_input_ended) {
  put("a", "x");
  mcp_client c(root_);
  c.say(
      R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"echo done"}}})");
  c.say_raw(R"({"jsonrpc":"2.0","id":2,"method":"ping"})");  // without a newline
  c.close_input();
  EXPECT_TRUE(c.answer(1).contains("result"));
  EXPECT_TRUE(c.answer(2).contains("result"));
  EXPECT_EQ(0, c.wait());
}

TEST_F(mcp_stdio, ends_promptly_with_everything_it_started) {
  for (const bool by_signal : {false, true}) {
    mcp_client c(root_);
    // One that ignores SIGTERM, one in a session of its own.
    const json started = c.call("process_start", {{"command", "trap '' TERM; setsid sleep 987 & echo $! ; sleep 986"}});
    ASSERT_FALSE(started.value("isError", false)) << started;
    const std::string id = started.at("structuredContent").at("id").get<std::string>();
    std::string output;
    for (int i = 0; i < 300 && output.empty(); ++i, ::usleep(10000))
      output = c.call("process_read", {{"id", id}}).at("structuredContent").at("output").get<std::string>();
    const pid_t grandchild = std::stoi(output);
    ASSERT_TRUE(process_lives(grandchild));
    c.say(
        R"({"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"sleep 985"}}})");
    if (by_signal)
      c.signal(SIGTERM);
    else
      c.close_input();
    EXPECT_EQ(0, c.wait(3s));
    EXPECT_TRUE(ends_soon(grandchild));
  }
}

TEST_F(mcp_stdio, survives_a_client_that_does_not_read) {
  put("big", std::string(39000, 'x'));
  mcp_client c(root_);
  const std::string ask =
      R"({"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":"file_read","arguments":{"path":"big"}}})"
      "\n";
  std::string all;
  for (int i = 0; i < 300; ++i) all += ask;  // 24 MB of answers
  c.say_raw(all);
  c.say(R"({"jsonrpc":"2.0","id":"end","method":"ping"})");
  int answers = 0;
  for (json reply = c.hear(); reply.is_object(); reply = c.hear()) {
    if (reply.at("id") == "end") break;
    ++answers;
  }
  EXPECT_EQ(300, answers);
}

TEST_F(mcp_stdio, writes_only_messages_to_its_output) {
  mcp_client c(root_);
  c.initialize();
  // A command that tries to speak for the server.
  const json result = c.call("terminal_exec", {{"command", R"(echo '{"jsonrpc":"2.0","id":5,"result":{}}')"}});
  EXPECT_NE(std::string::npos, result.at("content").at(0).at("text").get<std::string>().find("\"id\":5"));
  c.say(R"({"jsonrpc":"2.0","id":"z","method":"ping"})");
  EXPECT_EQ("z", c.answer("z").at("id"));
}

TEST(mcp_flags, refuses_what_it_does_not_understand_and_names_it) {
  const auto status_of = [](std::vector<std::string> flags, std::map<std::string, std::string> env = {}) {
    mcp_client c("/", std::move(flags), std::move(env));
    c.close_input();
    return c.wait();
  };
  EXPECT_EQ(0, status_of({}));
  EXPECT_EQ(2, status_of({"--no-such-flag"}));
  EXPECT_EQ(2, status_of({"stray"}));
  EXPECT_EQ(2, status_of({"--mode", "carrier-pigeon"}));
  EXPECT_EQ(2, status_of({"--read-only=maybe"}));
  EXPECT_EQ(2, status_of({"--allowed-commands="}));
  EXPECT_EQ(2, status_of({"--log-level", "loud"}));
  EXPECT_EQ(2, status_of({"--tool-names", "mine"}));
  EXPECT_EQ(2, status_of({"--workspace", "/no/such/folder"}));
  EXPECT_EQ(2, status_of({"--workspace"}));
  EXPECT_EQ(2, status_of({}, {{"CAGED_MCP_READ_ONLY", "perhaps"}}));
  EXPECT_EQ(2, status_of({"--mode", "http", "--listen", "0.0.0.0", "--port", "0"}));
  EXPECT_EQ(2, status_of({"--mode", "ws", "--listen", "::", "--port", "0"}));
  EXPECT_EQ(2, status_of({"--token", "short"}));
  EXPECT_EQ(2, status_of({"--isolate"}));  // the whole machine as workspace
  EXPECT_EQ(2, status_of({"--network", "none"}));
  EXPECT_EQ(2, status_of({"--memory", "1G"}));
  EXPECT_EQ(2, status_of({"--isolate", "--memory", "lots", "--workspace", "/tmp"}));
  EXPECT_EQ(2, status_of({"--isolate", "--network", "some", "--workspace", "/tmp"}));
  EXPECT_EQ(2, status_of({"--isolate", "--network", "allowlist", "--workspace", "/tmp"}));
  EXPECT_EQ(2, status_of({"--isolate", "--network-allow", "example.org", "--workspace", "/tmp"}));
}

std::vector<std::string> tool_names(mcp_client& c) {
  std::vector<std::string> names;
  const json list = c.request("tools/list");
  for (const json& tool : list.at("tools")) names.push_back(tool.at("name").get<std::string>());
  return names;
}

TEST_F(mcp_stdio, exposes_exactly_six_tools_when_read_only) {
  const std::vector<std::string> six{"file_read", "file_list", "file_search", "git_status", "git_diff", "git_log"};
  mcp_client by_flag(root_, {"--read-only"});
  EXPECT_EQ(six, tool_names(by_flag));
  EXPECT_EQ(-32602, by_flag.call("file_write", {{"path", "x"}, {"content", "x"}}).at("error").at("code"));
  mcp_client by_variable(root_, {}, {{"CAGED_MCP_READ_ONLY", "true"}});
  EXPECT_EQ(six, tool_names(by_variable));
  mcp_client overruled(root_, {"--read-only=false"}, {{"CAGED_MCP_READ_ONLY", "true"}});
  EXPECT_LT(six.size(), tool_names(overruled).size());
}

TEST_F(mcp_stdio, lists_small_and_complete_descriptions) {
  mcp_client c(root_, {"--tool-names=published"});
  const json list = c.request("tools/list");
  EXPECT_LE(list.dump().size(), 12000u);
  std::vector<std::string> names;
  for (const json& tool : list.at("tools")) {
    names.push_back(tool.at("name").get<std::string>());
    EXPECT_FALSE(tool.at("description").get<std::string>().empty());
    EXPECT_EQ("object", tool.at("inputSchema").at("type"));
    EXPECT_EQ("object", tool.at("outputSchema").at("type"));
    for (const char* hint : {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"})
      EXPECT_TRUE(tool.at("annotations").at(hint).is_boolean()) << tool;
  }
  for (const char* name : {"filesystem_read", "filesystem_write", "filesystem_list", "filesystem_delete",
                           "filesystem_search", "terminal_exec", "git_status", "git_diff", "git_log", "git_commit"})
    EXPECT_NE(names.end(), std::find(names.begin(), names.end(), name)) << name;
}

}  // namespace
}  // namespace caged::test
