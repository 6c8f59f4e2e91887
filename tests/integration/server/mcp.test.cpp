// The platform's MCP on real sandboxes: what an agent does with it, at each of its doors, with keys of each scope.
#include <set>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

using namespace std::chrono_literals;

// One conversation on a WebSocket; notifications are kept.
class socket_client {
 public:
  socket_client(http::client& http, const std::string& path)
      : socket_(std::make_unique<http::client_websocket>(http.websocket(path, "mcp").value())) {
    greeting = call("initialize", {{"protocolVersion", "2025-11-25"},
                                   {"capabilities", json::object()},
                                   {"clientInfo", {{"name", "test"}, {"version", "1"}}}});
    tell("notifications/initialized");
  }

  int begin(const std::string& method, json params = json::object()) {
    send({{"jsonrpc", "2.0"}, {"id", ++last_}, {"method", method}, {"params", std::move(params)}});
    return last_;
  }
  void tell(const std::string& method, json params = json::object()) {
    send({{"jsonrpc", "2.0"}, {"method", method}, {"params", std::move(params)}});
  }
  // Reads until the answer is there; null when it does not come.
  json answer(int id, std::chrono::milliseconds limit = 60s) {
    eventually([&] { return answers_.contains(id) || !read(1s) || answers_.contains(id); }, limit);
    const auto found = answers_.find(id);
    return found == answers_.end() ? json() : found->second;
  }
  json call(const std::string& method, json params = json::object()) {
    return answer(begin(method, std::move(params)));
  }
  json tool(const std::string& name, json arguments = json::object()) {
    const json a = call("tools/call", {{"name", name}, {"arguments", std::move(arguments)}});
    return a.contains("result") ? a["result"] : a;
  }
  // What a tool answers that must succeed.
  json done(const std::string& name, json arguments = json::object()) {
    const json r = tool(name, std::move(arguments));
    EXPECT_FALSE(r.value("isError", !r.contains("structuredContent"))) << name << ": " << r.dump(1);
    return r.value("structuredContent", json::object());
  }
  bool heard(const std::function<bool(const json&)>& fits, std::chrono::milliseconds limit = 20s) {
    return eventually(
        [&] {
          for (const json& n : notes)
            if (fits(n)) return true;
          read(200ms);
          return false;
        },
        limit);
  }
  bool heard_update(const std::string& uri, std::chrono::milliseconds limit = 20s) {
    return heard(
        [&](const json& n) { return n["method"] == "notifications/resources/updated" && n["params"]["uri"] == uri; },
        limit);
  }
  std::set<std::string> tools() {
    std::set<std::string> names;
    const json listed = call("tools/list");
    for (const json& t : listed["result"]["tools"]) names.insert(t["name"].get<std::string>());
    return names;
  }

  json greeting;
  std::vector<json> notes;

 private:
  void send(const json& message) { ASSERT_TRUE(socket_->write({true, message.dump()})); }
  // Whether the connection still stands.
  bool read(std::chrono::milliseconds wait) {
    auto got = socket_->read(wait);
    if (!got) return got.error().code == errc::deadline_exceeded;
    if (!*got) return false;
    const json message = json::parse((*got)->data);
    if (message.contains("method"))
      notes.push_back(message);
    else
      answers_[message.value("id", 0)] = message;
    return true;
  }
  std::unique_ptr<http::client_websocket> socket_;
  std::map<int, json> answers_;
  int last_ = 0;
};

class Mcp : public ServerTest {
 protected:
  // A key of that scope: its text.
  std::string key(const std::string& scope) {
    const json fresh = call("POST", "/v1/account/keys", {{"name", "mcp " + scope}, {"scope", scope}});
    keys_.push_back(fresh["info"]["id"].get<std::string>());
    return fresh["key"].get<std::string>();
  }
  void TearDown() override {
    for (const auto& id : keys_) (void)http.call("DELETE", "/v1/account/keys/" + id);
    ServerTest::TearDown();
  }
  bool running(const std::string& box, const std::string& words) {
    const json seen = exec(box, "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null");
    return ("\n" + seen.value("stdout", "")).find("\n" + words + " ") != std::string::npos;
  }
  std::vector<std::string> keys_;
};

TEST_F(Mcp, AnAgentDoesAllItsWorkThroughTools) {
  socket_client c(http, "/mcp/ws");
  const std::string box = c.done("sandbox_create")["id"].get<std::string>();
  made.push_back(box);
  c.done("file_write", {{"id", box}, {"path", "src/a.txt"}, {"content", "one\n"}});
  EXPECT_EQ(c.done("file_read", {{"id", box}, {"path", "src/a.txt"}})["content"], "one\n");
  EXPECT_EQ(
      c.done("sandbox_exec", {{"id", box},
                              {"command",
                               "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm one "
                               "&& echo two >> src/a.txt && cat src/a.txt"}})["stdout"],
      "one\ntwo\n");
  EXPECT_NE(c.done("git_diff", {{"id", box}})["diff"].get<std::string>().find("+two"), std::string::npos);
  const std::string snapshot = c.done("snapshot_create", {{"id", box}, {"name", "before"}})["id"].get<std::string>();
  c.done("file_remove", {{"id", box}, {"path", "src/a.txt"}});
  EXPECT_EQ(c.tool("file_read", {{"id", box}, {"path", "src/a.txt"}}).value("isError", false), true);
  c.done("snapshot_restore", {{"snapshot", snapshot}});
  EXPECT_EQ(c.done("file_read", {{"id", box}, {"path", "src/a.txt"}})["content"], "one\ntwo\n");
  const std::string fork = c.done("sandbox_fork", {{"id", box}})["id"].get<std::string>();
  made.push_back(fork);
  c.done("file_write", {{"id", fork}, {"path", "only-here"}, {"content", "x"}});
  EXPECT_EQ(c.tool("file_stat", {{"id", box}, {"path", "only-here"}}).value("isError", false), true);

  const json server = c.done(
      "sandbox_exec", {{"id", box}, {"command", "python3 -m http.server 8123 >/dev/null 2>&1"}, {"background", true}});
  EXPECT_TRUE(eventually(
      [&] {
        return c.done("sandbox_ports", {{"id", box}}).dump().find("8123") != std::string::npos;
      },
      30s));
  c.done("process_signal", {{"id", box}, {"process", server["process_id"]}, {"signal", "SIGKILL"}});
  const json ended = c.done("process_output", {{"id", box}, {"process", server["process_id"]}, {"wait", 20}});
  EXPECT_EQ(ended["running"], false);
  EXPECT_EQ(ended["exit"]["signal"], "SIGKILL");

  c.done("sandbox_pause", {{"id", box}});
  EXPECT_EQ(c.done("sandbox_get", {{"id", box}})["status"], "paused");
  c.done("sandbox_resume", {{"id", box}});
  EXPECT_EQ(c.done("sandbox_get", {{"id", box}})["status"], "running");
  EXPECT_GT(c.done("billing_usage", {{"sandbox_id", box}})["total_cost"].get<double>(), 0);
  const json events = c.done("sandbox_events", {{"id", box}, {"limit", 2}});
  ASSERT_EQ(events["events"].size(), 2u);
  const json later = c.done("sandbox_events", {{"id", box}, {"after", events["next_after"]}, {"limit", 200}});
  EXPECT_NE(later.dump().find("paused"), std::string::npos);
  c.done("sandbox_destroy", {{"id", fork}});
  EXPECT_EQ(c.tool("sandbox_exec", {{"id", fork}, {"command", "true"}}).value("isError", false), true);
}

TEST_F(Mcp, LongFilesComeInPagesThatSayWhereToGoOn) {
  const std::string box = make();
  socket_client c(http, "/v1/sandboxes/" + box + "/mcp");
  std::string all;
  while (all.size() < 100'000) all += "zwölf Boxkämpfer\n";
  c.done("file_write", {{"path", "long"}, {"content", all}});
  std::string seen, range = "bytes=0-";
  for (int page = 0; page < 9 && !range.empty(); ++page) {
    const json part = c.done("file_read", {{"path", "long"}, {"range", range}});
    EXPECT_LE(part["content"].get<std::string>().size(), 40'000u);
    EXPECT_EQ(part["total_bytes"], all.size());
    seen += part["content"].get<std::string>();
    range = part.value("next_range", "");
  }
  EXPECT_EQ(seen, all);
  const json beyond = c.tool("file_read", {{"path", "long"}, {"range", "bytes=9999999-"}});
  EXPECT_EQ(beyond.value("isError", false), true);
  c.done("sandbox_exec", {{"command", "printf '\\200%.0s' $(seq 5000) > binary"}});
  EXPECT_EQ(c.done("file_read", {{"path", "binary"}})["bytes"], 5000);
  const json flood = c.done("sandbox_exec", {{"command", "seq 1 100000; echo the end"}});
  EXPECT_EQ(flood["truncated"], true);
  EXPECT_LT(flood["stdout"].get<std::string>().size(), 21'000u);
  EXPECT_TRUE(flood["stdout"].get<std::string>().starts_with("1\n2\n"));
  EXPECT_TRUE(flood["stdout"].get<std::string>().ends_with("the end\n"));
}

TEST_F(Mcp, OutputIsProgressAndCancellingKills) {
  const std::string box = make();
  socket_client c(http, "/mcp/ws");
  const int id = c.begin(
      "tools/call",
      {{"name", "sandbox_exec"},
       {"arguments", {{"id", box}, {"command", "setsid sleep 54321 & while :; do echo at work; sleep 0.2; done"}}},
       {"_meta", {{"progressToken", "t"}}}});
  EXPECT_TRUE(c.heard([](const json& n) {
    return n["method"] == "notifications/progress" && n["params"]["progressToken"] == "t" &&
           n["params"].value("message", "") == "at work";
  }));
  EXPECT_TRUE(running(box, "sleep 54321"));
  c.tell("notifications/cancelled", {{"requestId", id}});
  EXPECT_TRUE(eventually([&] { return !running(box, "sleep 54321"); }, 20s));
  EXPECT_TRUE(c.answer(id, 300ms).is_null());
  EXPECT_TRUE(c.call("ping")["result"].is_object());
}

TEST_F(Mcp, AClosedConnectionKillsToo) {
  const std::string box = make();
  {
    socket_client c(http, "/v1/sandboxes/" + box + "/mcp");
    c.begin("tools/call", {{"name", "sandbox_exec"}, {"arguments", {{"command", "sleep 65432"}}}});
    EXPECT_TRUE(eventually([&] { return running(box, "sleep 65432"); }, 20s));
  }
  EXPECT_TRUE(eventually([&] { return !running(box, "sleep 65432"); }, 20s));
}

TEST_F(Mcp, AScopeHidesAndRefusesWhatItForbids) {
  const std::string box = make();
  http::client reading = host->client(key("read")), acting = host->client(key("sandbox"));
  socket_client all(http, "/mcp/ws"), act(acting, "/mcp/ws"), look(reading, "/mcp/ws");
  const auto every = all.tools(), some = act.tools(), few = look.tools();
  EXPECT_TRUE(few.contains("file_read") && few.contains("sandbox_list") && few.contains("git_diff"));
  EXPECT_TRUE(some.contains("sandbox_exec") && some.contains("sandbox_create") && some.contains("file_write"));
  for (const char* name : {"sandbox_exec", "sandbox_create", "sandbox_destroy", "file_write", "snapshot_create"}) {
    EXPECT_FALSE(few.contains(name)) << name;
    const json refused =
        look.call("tools/call", {{"name", name}, {"arguments", {{"id", box}, {"command", "true"}, {"path", "x"}}}});
    EXPECT_EQ(refused["error"]["code"], -32602) << refused.dump();
  }
  for (const auto& name : few) EXPECT_TRUE(some.contains(name)) << name;
  for (const auto& name : some) EXPECT_TRUE(every.contains(name)) << name;
  // Nobody approves, or gives out keys and secrets, by MCP.
  for (const auto& name : every)
    for (const char* family : {"approval_", "key_", "secret_", "policy_", "auth_", "plugin_"})
      EXPECT_FALSE(name.starts_with(family)) << name;
  const json tool_list = look.call("tools/list");
  for (const json& t : tool_list["result"]["tools"]) EXPECT_EQ(t["annotations"]["readOnlyHint"], true) << t["name"];
  EXPECT_EQ(http.request({.method = "POST", .target = "/mcp"})->status, 415);
  EXPECT_EQ(host->client("caged_sk_wrong").websocket("/mcp/ws", "mcp").error().code, errc::unauthenticated);
}

TEST_F(Mcp, TheDoorOfOneSandboxLeadsToNoOther) {
  const std::string box = make(), other = make();
  exec(other, "echo secret > /workspace/mine");
  socket_client c(http, "/v1/sandboxes/" + box + "/mcp");
  EXPECT_FALSE(c.tools().contains("sandbox_create"));
  EXPECT_FALSE(c.tools().contains("sandbox_list"));
  EXPECT_EQ(c.done("sandbox_get")["id"], box);
  EXPECT_EQ(c.tool("file_read", {{"id", other}, {"path", "mine"}}).value("isError", false), true);
  for (const std::string uri :
       {"caged://sandbox/" + other + "/file/workspace/mine", std::string("file:///workspace/mine"),
        "caged://session/" + call("GET", "/v1/sandboxes/" + other)["session_id"].get<std::string>() + "/journal"})
    EXPECT_EQ(c.call("resources/read", {{"uri", uri}})["error"]["code"], -32002) << uri;
  const std::string foreign =
      call("POST", "/v1/sandboxes/" + other + "/snapshots", {{"name", "theirs"}})["id"].get<std::string>();
  EXPECT_EQ(c.tool("snapshot_restore", {{"snapshot", foreign}}).value("isError", false), true);
  const std::string own = c.done("snapshot_create", {{"name", "ours"}})["id"].get<std::string>();
  exec(box, "touch later");
  c.done("snapshot_restore", {{"snapshot", own}});
  EXPECT_EQ(c.tool("file_stat", {{"path", "later"}}).value("isError", false), true);
  EXPECT_EQ(http.websocket("/v1/sandboxes/cage-nosuchbox/mcp", "mcp").error().code, errc::not_found);
}

TEST_F(Mcp, ResourcesAreFilesAndJournals) {
  const std::string box = make();
  exec(box,
       "mkdir d && echo text > 'd/a b.md' && head -c 300 /dev/urandom > d/raw && mkdir many && cd many && touch $(seq "
       "450)");
  socket_client c(http, "/v1/sandboxes/" + box + "/mcp");
  std::map<std::string, json> rows;
  json params = json::object();
  int pages = 0;
  for (; pages < 10; ++pages) {
    const json page = c.call("resources/list", params)["result"];
    for (const json& row : page["resources"]) rows[row["uri"].get<std::string>()] = row;
    if (!page.contains("nextCursor")) break;
    params["cursor"] = page["nextCursor"];
  }
  EXPECT_GE(pages, 2);
  EXPECT_GE(rows.size(), 455u);
  ASSERT_TRUE(rows.contains("file:///workspace/d/a%20b.md"));
  EXPECT_EQ(rows["file:///workspace/d/a%20b.md"]["mimeType"], "text/markdown");
  EXPECT_EQ(rows["file:///workspace/d"]["mimeType"], "inode/directory");
  const auto read = [&c](const std::string& uri) {
    return c.call("resources/read", {{"uri", uri}})["result"]["contents"][0];
  };
  EXPECT_EQ(read("file:///workspace/d/a%20b.md")["text"], "text\n");
  EXPECT_TRUE(read("file:///workspace/d/raw").contains("blob"));
  EXPECT_NE(read("file:///workspace/d")["text"].get<std::string>().find("a%20b.md"), std::string::npos);
  const std::string session = call("GET", "/v1/sandboxes/" + box)["session_id"].get<std::string>();
  ASSERT_TRUE(rows.contains("caged://session/" + session + "/journal"));
  EXPECT_NE(read("caged://session/" + session + "/journal")["text"].get<std::string>().find("many"), std::string::npos);
  EXPECT_EQ(c.call("resources/read", {{"uri", "file:///workspace/none"}})["error"]["code"], -32002);
  EXPECT_EQ(c.call("resources/list", {{"cursor", "made up"}})["error"]["code"], -32602);
  EXPECT_EQ(c.call("resources/templates/list")["result"]["resourceTemplates"][0]["uriTemplate"], "file:///{+path}");
  const json completed = c.call("completion/complete", {{"ref", {{"type", "ref/resource"}, {"uri", "file:///{+path}"}}},
                                                        {"argument", {{"name", "path"}, {"value", "workspace/d/"}}}});
  EXPECT_EQ(completed["result"]["completion"]["values"], json({"workspace/d/a b.md", "workspace/d/raw"}));
}

TEST_F(Mcp, SubscribersHearOfTheirOwnFilesOnly) {
  const std::string box = make(), other = make();
  socket_client mine(http, "/v1/sandboxes/" + box + "/mcp"), theirs(http, "/v1/sandboxes/" + other + "/mcp");
  // The same address in both.
  const std::string uri = "file:///workspace/watched";
  exec(box, "echo 1 > watched");
  for (auto* c : {&mine, &theirs}) EXPECT_TRUE(c->call("resources/subscribe", {{"uri", uri}}).contains("result"));
  int turn = 0;
  EXPECT_TRUE(eventually(
      [&] {  // the first look may come after the first change
        exec(box, "echo " + std::to_string(++turn) + " > watched");
        return mine.heard_update(uri, 3s);
      },
      30s));
  EXPECT_FALSE(theirs.heard_update(uri, 100ms));
  exec(other, "echo made > watched");
  EXPECT_TRUE(theirs.heard_update(uri));
  // A paused sandbox is not woken to be looked at.
  call("POST", "/v1/sandboxes/" + box + "/pause");
  EXPECT_FALSE(eventually([&] { return call("GET", "/v1/sandboxes/" + box)["status"] != "paused"; }, 2500ms));
  call("POST", "/v1/sandboxes/" + box + "/resume");
  mine.notes.clear();
  EXPECT_TRUE(mine.call("resources/unsubscribe", {{"uri", uri}}).contains("result"));
  exec(box, "echo unheard > watched");
  EXPECT_FALSE(mine.heard_update(uri, 2500ms));
}

TEST_F(Mcp, StreamableHttpDoesTheSameInBothEras) {
  const std::string box = make();
  const auto post = [&](const json& message, http::headers more) {
    http::client_request r{.method = "POST", .target = "/mcp", .body = message.dump()};
    r.fields = {{"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"}};
    r.fields.insert(r.fields.end(), more.begin(), more.end());
    return raw(std::move(r));
  };
  const json call_of_tool{{"name", "sandbox_exec"}, {"arguments", {{"id", box}, {"command", "echo by http"}}}};
  const auto begun = post({{"jsonrpc", "2.0"},
                           {"id", 1},
                           {"method", "initialize"},
                           {"params",
                            {{"protocolVersion", "2025-06-18"},
                             {"capabilities", json::object()},
                             {"clientInfo", {{"name", "t"}, {"version", "1"}}}}}},
                          {});
  const std::string session(begun.field("mcp-session-id"));
  ASSERT_FALSE(session.empty()) << begun.body;
  const auto legacy = post({{"jsonrpc", "2.0"}, {"id", 2}, {"method", "tools/call"}, {"params", call_of_tool}},
                           {{"Mcp-Session-Id", session}, {"MCP-Protocol-Version", "2025-06-18"}});
  EXPECT_NE(legacy.body.find("by http"), std::string::npos) << legacy.body;
  // Another key's session is nobody's.
  auto other = host->client(key("full"));
  http::client_request stolen{
      .method = "POST", .target = "/mcp", .body = R"({"jsonrpc":"2.0","id":3,"method":"ping"})"};
  stolen.fields = {{"Content-Type", "application/json"},
                   {"Accept", "application/json, text/event-stream"},
                   {"Mcp-Session-Id", session}};
  EXPECT_EQ(other.request(std::move(stolen))->status, 404);
  json params = call_of_tool;
  params["_meta"] = {{"io.modelcontextprotocol/protocolVersion", "2026-07-28"},
                     {"io.modelcontextprotocol/clientCapabilities", json::object()},
                     {"io.modelcontextprotocol/clientInfo", {{"name", "t"}, {"version", "1"}}}};
  const auto modern =
      post({{"jsonrpc", "2.0"}, {"id", 4}, {"method", "tools/call"}, {"params", params}},
           {{"MCP-Protocol-Version", "2026-07-28"}, {"Mcp-Method", "tools/call"}, {"Mcp-Name", "sandbox_exec"}});
  EXPECT_NE(modern.body.find("by http"), std::string::npos) << modern.body;
  EXPECT_NE(modern.body.find("\"resultType\":\"complete\""), std::string::npos) << modern.body;
}

TEST_F(Mcp, PromptsNameToolsThatExist) {
  const std::string box = make();
  socket_client c(http, "/mcp/ws");
  const auto tools = c.tools();
  const json prompts = c.call("prompts/list")["result"]["prompts"];
  ASSERT_GE(prompts.size(), 3u);
  for (const json& p : prompts) {
    json arguments{{"id", box}};
    for (const json& a : p["arguments"])
      if (a["name"] != "id") arguments[a["name"].get<std::string>()] = "the thing";
    const json got = c.call("prompts/get", {{"name", p["name"]}, {"arguments", arguments}})["result"];
    const std::string text = got["messages"][0]["content"]["text"].get<std::string>();
    EXPECT_NE(text.find(box), std::string::npos);
    for (std::size_t at = 0; (at = text.find_first_of("_", at)) != std::string::npos; ++at) {
      const auto word = [](char ch) { return ch == '_' || (ch >= 'a' && ch <= 'z'); };
      std::size_t from = at, to = at;
      while (from > 0 && word(text[from - 1])) --from;
      while (to < text.size() && word(text[to])) ++to;
      EXPECT_TRUE(tools.contains(text.substr(from, to - from))) << text.substr(from, to - from);
    }
  }
  EXPECT_EQ(c.call("prompts/get", {{"name", "use_sandbox"}, {"arguments", json::object()}}).contains("error"), true);
  EXPECT_EQ(c.call("completion/complete",
                   {{"ref", {{"type", "ref/prompt"}, {"name", "use_sandbox"}}},
                    {"argument", {{"name", "id"}, {"value", box.substr(0, 10)}}}})["result"]["completion"]["values"],
            json({box}));
}

TEST_F(Mcp, ARevokedKeyEndsWhatItOpened) {
  const std::string box = make();
  const json fresh = call("POST", "/v1/account/keys", {{"name", "short"}, {"scope", "sandbox"}});
  auto client = host->client(fresh["key"].get<std::string>());
  socket_client c(client, "/v1/sandboxes/" + box + "/mcp");
  EXPECT_EQ(c.done("sandbox_exec", {{"command", "echo yes"}})["stdout"], "yes\n");
  call("DELETE", "/v1/account/keys/" + fresh["info"]["id"].get<std::string>());
  const json after = c.tool("sandbox_exec", {{"command", "echo still"}});
  EXPECT_EQ(after.dump().find("still"), std::string::npos) << after.dump();
}

}  // namespace
}  // namespace caged::testing
