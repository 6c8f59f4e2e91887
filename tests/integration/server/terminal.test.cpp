#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Terminal : public ServerTest {
 protected:
  void SetUp() override { id = make(); }
  std::string route(const std::string& rest) const { return "/v1/sandboxes/" + id + rest; }

  // Reads until the output holds `wanted`; returns all of it. Other messages go to `others`.
  std::string until(http::client_websocket& ws, const std::string& wanted) {
    std::string out;
    for (int i = 0; i < 500 && out.find(wanted) == std::string::npos; ++i) {
      auto got = ws.read(std::chrono::seconds(5));
      if (!got || !*got) break;
      const json message = json::parse((*got)->data);
      if (message["type"] == "output")
        out += message["data"].get<std::string>();
      else
        others.push_back(message);
    }
    EXPECT_NE(out.find(wanted), std::string::npos) << out;
    return out;
  }
  static void type(http::client_websocket& ws, const std::string& text) {
    stream_message m{true, json{{"type", "input"}, {"data", text}}.dump()};
    EXPECT_TRUE(ws.write(m));
  }
  std::string id;
  std::vector<json> others;
};

TEST_F(Terminal, TypesResizesDetachesAttachesAndEnds) {
  auto ws = http.websocket(route("/terminal?rows=30&cols=100"), "terminal");
  ASSERT_TRUE(ws) << describe(ws.error());
  EXPECT_EQ(ws->subprotocol(), "terminal");
  type(*ws, "stty size; echo mark$((1+1))\n");
  EXPECT_NE(until(*ws, "mark2").find("30 100"), std::string::npos);
  stream_message resize{true, R"({"type":"resize","rows":40,"cols":120})"};
  ASSERT_TRUE(ws->write(resize));
  type(*ws, "stty size; echo mark$((2+2))\n");
  EXPECT_NE(until(*ws, "mark4").find("40 120"), std::string::npos);
  stream_message ping{true, R"({"type":"ping"})"};
  ASSERT_TRUE(ws->write(ping));
  const json sessions = call("GET", route("/terminal/sessions"));
  ASSERT_EQ(sessions.size(), 1u);
  const std::string session = sessions[0]["id"].get<std::string>();
  ws->close();

  auto again = http.websocket(route("/terminal?session=" + session), "terminal");
  ASSERT_TRUE(again) << describe(again.error());
  until(*again, "mark4");  // scrollback
  type(*again, "exit 7\n");
  json exit;
  while (true) {
    auto got = again->read(std::chrono::seconds(5));
    if (!got || !*got) break;
    const json message = json::parse((*got)->data);
    if (message["type"] == "exit") exit = message;
  }
  EXPECT_EQ(exit["exit_code"], 7);
  EXPECT_TRUE(call("GET", route("/terminal/sessions")).empty());
}

TEST_F(Terminal, TicketsAreGoodOnceAndKeysInTheUrlNever) {
  const std::string ticket = call("POST", "/v1/auth/socket-ticket")["ticket"].get<std::string>();
  http::client_options o;
  o.base_url = host->address();
  auto nobody = http::client::make(o).value();
  EXPECT_FALSE(nobody.websocket(route("/terminal"), "terminal"));
  EXPECT_FALSE(nobody.websocket(route("/terminal?ticket=caged_wst_0000"), "terminal"));
  EXPECT_FALSE(nobody.websocket(route("/terminal?token=" + host->key()), "terminal"));
  {
    auto ws = nobody.websocket(route("/terminal?ticket=" + ticket), "terminal");
    EXPECT_TRUE(ws) << describe(ws.error());
  }
  EXPECT_FALSE(nobody.websocket(route("/terminal?ticket=" + ticket), "terminal"));
}

TEST_F(Terminal, ForeignOriginsAreRefusedBeforeTheHandshake) {
  for (const char* origin : {"https://evil.example", "null", "http://localhost.evil.com", "http://127.0.0.1.nip.io"}) {
    auto ws = http.websocket(route("/terminal"), "terminal", {{"origin", origin}});
    ASSERT_FALSE(ws) << origin;
    EXPECT_EQ(ws.error().code, errc::permission_denied) << origin;
  }
}

}  // namespace
}  // namespace caged::testing
