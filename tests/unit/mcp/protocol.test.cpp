// The protocol without I/O: bounds of the JSON reader, the life of a call, what is never sent.
#include <gtest/gtest.h>

#include <caged/mcp/dialog.hpp>

namespace caged::test {
namespace {

using namespace mcp;

struct recorder : outlet {
  void send(std::string text, kind what, int http_status) override {
    EXPECT_EQ(std::string::npos, text.find('\n'));
    messages.push_back(json::parse(text));
    kinds.push_back(what);
    statuses.push_back(http_status);
  }
  std::vector<json> messages;
  std::vector<kind> kinds;
  std::vector<int> statuses;
};

// Two tools: one that answers at once, one that the test answers.
struct bench : toolbox {
  bench() {
    for (const char* name : {"now", "later"})
      infos.push_back({name, "T", "D", R"({"type":"object","properties":{}})", R"({"type":"object"})", read_only});
  }
  const std::vector<tool_info>& tools() const override { return infos; }
  void start(const std::shared_ptr<tool_call>& call) override {
    if (call->tool() == "later") return waiting.push_back(call);
    tool_result r;
    r.text = call->arguments().dump();
    r.structured = json::object();
    call->answer(std::move(r));
  }
  std::vector<tool_info> infos;
  std::vector<std::shared_ptr<tool_call>> waiting;
};

class mcp_protocol : public ::testing::Test {
 protected:
  void say(const std::string& text) { dialog_->receive(text, out_); }
  void call(const std::string& tool, const std::string& id, const std::string& more = "") {
    say(R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":"tools/call","params":{"name":")" + tool + "\"" + more + "}}");
  }
  bench tools_;
  std::shared_ptr<recorder> out_ = std::make_shared<recorder>();
  std::shared_ptr<dialog> dialog_ = dialog::make(tools_, {"server", "Server", "1", "use it"});
};

TEST(mcp_json, is_bounded_and_strict) {
  EXPECT_EQ("", parse_strict(R"({"a":[1,-2,3.5,true,null,"x"],"b":{}})").fault);
  EXPECT_NE("", parse_strict("").fault);
  EXPECT_NE("", parse_strict("{} {}").fault);
  EXPECT_NE("", parse_strict("NaN").fault);
  EXPECT_NE("", parse_strict("[1,]").fault);
  EXPECT_NE("", parse_strict("/**/{}").fault);
  EXPECT_NE(std::string::npos, parse_strict(R"({"a":{"x":1,"x":2}})").fault.find("twice"));
  EXPECT_NE(std::string::npos, parse_strict(std::string(100000, '[')).fault.find("deeper"));
  EXPECT_EQ("", parse_strict(std::string(64, '[') + std::string(64, ']')).fault);
  EXPECT_NE("", parse_strict(std::string(65, '[') + std::string(65, ']')).fault);
  std::string many = "[";
  for (int i = 0; i < 300000; ++i) many += "0,";
  EXPECT_NE(std::string::npos, parse_strict(many + "0]").fault.find("more than"));
  EXPECT_EQ(json::parse(R"({"a":[{"b":[1,{"c":2}]},3]})"), parse_strict(R"({"a":[{"b":[1,{"c":2}]},3]})").value);
}

TEST(mcp_json, quotes_like_the_library_and_repairs_what_is_not_utf8) {
  for (const std::string text : {"", "plain", "\"\\\n\r\t\x01\x1f", "ä€😀", "a\x7f"}) {
    std::string quoted;
    append_quoted(quoted, text);
    EXPECT_EQ(text, json::parse(quoted).get<std::string>());
  }
  for (const std::string bad : {"\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80", "a\x80z"}) {
    std::string quoted;
    append_quoted(quoted, bad);
    EXPECT_NE(std::string::npos, json::parse(quoted).get<std::string>().find("\xef\xbf\xbd"));
  }
}

TEST_F(mcp_protocol, answers_once_and_after_a_cancel_never) {
  call("later", "1");
  call("later", "2");
  ASSERT_EQ(2u, tools_.waiting.size());
  bool told = false;
  tools_.waiting[0]->on_cancel([&] { told = true; });
  say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}})");
  EXPECT_TRUE(told);
  EXPECT_TRUE(tools_.waiting[0]->cancelled());
  tools_.waiting[0]->answer({});
  tools_.waiting[0]->progress(1, 2, "late");
  EXPECT_TRUE(out_->messages.empty());
  tools_.waiting[1]->fail("no");
  tools_.waiting[1]->fail("again");
  ASSERT_EQ(1u, out_->messages.size());
  EXPECT_EQ(2, out_->messages[0].at("id"));
  EXPECT_EQ(0u, dialog_->in_flight());
  // The id is free again, also that of the cancelled one.
  call("now", "1");
  EXPECT_EQ(1, out_->messages[1].at("id"));
}

TEST_F(mcp_protocol, reports_rising_progress_to_whom_asked) {
  say(R"({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05"}})");
  call("later", "1", R"(,"_meta":{"progressToken":7})");
  auto& c = *tools_.waiting[0];
  EXPECT_TRUE(c.wants_progress());
  c.progress(1, 3, "one");
  c.progress(1, 3, "not higher");
  c.progress(0.5, 3, "lower");
  c.progress(2, std::nullopt, "");
  ASSERT_EQ(3u, out_->messages.size());
  EXPECT_EQ((json{{"progressToken", 7}, {"progress", 1.0}, {"total", 3.0}}), out_->messages[1].at("params"))
      << "this revision has no message";
  EXPECT_EQ(2.0, out_->messages[2].at("params").at("progress"));
  EXPECT_EQ(outlet::kind::notification, out_->kinds[1]);
}

TEST_F(mcp_protocol, refuses_more_requests_than_it_can_hold) {
  for (std::size_t i = 0; i <= dialog::max_in_flight; ++i) call("later", std::to_string(i));
  ASSERT_EQ(1u, out_->messages.size());
  EXPECT_EQ(-32603, out_->messages[0].at("error").at("code"));
  dialog_->close();
  EXPECT_EQ(0u, dialog_->in_flight());
  EXPECT_TRUE(tools_.waiting[5]->cancelled());
  EXPECT_EQ(1u, out_->messages.size());
}

TEST_F(mcp_protocol, carries_the_http_status_of_errors_before_the_handler) {
  const std::string meta =
      R"("_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}})";
  say("x");
  say(R"({"jsonrpc":"2.0","id":1,"method":"nope"})");
  say(R"({"jsonrpc":"2.0","id":2,"method":"nope","params":{)" + meta + "}}");
  say(R"({"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}})");
  say(R"({"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"nope",)" + meta + "}}");
  say("y");
  EXPECT_EQ((std::vector<int>{400, 200, 404, 400, 200, 400}), out_->statuses);
  EXPECT_TRUE(out_->messages[0].at("id").is_null());
  EXPECT_FALSE(out_->messages[5].contains("id")) << "the stateless era leaves an unreadable id out";
}

TEST_F(mcp_protocol, outlives_a_dialog_that_is_gone) {
  call("later", "1");
  dialog_->close();
  dialog_.reset();
  tools_.waiting[0]->answer({});
  tools_.waiting[0]->refuse_arguments("late");
  EXPECT_TRUE(out_->messages.empty());
}

TEST_F(mcp_protocol, collects_a_batch_in_one_array_when_the_last_is_done) {
  dialog_->agree(revision::v2025_03_26);
  say(R"([{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"later"}},{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"later"}}])");
  EXPECT_TRUE(out_->messages.empty());
  tools_.waiting[1]->fail("x");
  say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}})");
  tools_.waiting.clear();
  ASSERT_EQ(1u, out_->messages.size());
  ASSERT_EQ(2u, out_->messages[0].size());
  EXPECT_EQ(2, out_->messages[0][0].at("id"));
  EXPECT_EQ(3, out_->messages[0][1].at("id"));
  say(R"([{"jsonrpc":"2.0","method":"notifications/initialized"}])");
  EXPECT_EQ(1u, out_->messages.size()) << "nothing but notifications is not answered";
}

}  // namespace
}  // namespace caged::test
