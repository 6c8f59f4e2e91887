#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

class Files : public ServerTest {
 protected:
  void SetUp() override { id = make(); }
  std::string route(const std::string& rest) const { return "/v1/sandboxes/" + id + "/files" + rest; }
  http::client_response get(const std::string& path, http::headers fields = {}) {
    http::client_request r;
    r.target = route("/content?path=" + http::encode_component(path));
    r.fields = std::move(fields);
    return raw(r);
  }
  http::client_response put(const std::string& path, std::string bytes,
                            const std::string& type = "application/octet-stream") {
    http::client_request r;
    r.method = "PUT";
    r.target = route("/content?path=" + http::encode_component(path));
    r.fields = {{"content-type", type}};
    r.body = std::move(bytes);
    return raw(r);
  }
  std::string id;
};

TEST_F(Files, TextAndBytesRoundTrip) {
  EXPECT_EQ(put("/workspace/a/b/c.txt", R"({"content":"text\n"})", "application/json").status, 200);
  EXPECT_EQ(get("/workspace/a/b/c.txt").body, "text\n");
  EXPECT_TRUE(get("/workspace/a/b/c.txt").field("content-type").starts_with("text/plain"));
  std::string all;
  for (int i = 0; i < 1024; ++i) all += static_cast<char>(i);
  EXPECT_EQ(put("/workspace/all.bin", all).status, 200);
  EXPECT_EQ(get("/workspace/all.bin").body, all);
  EXPECT_EQ(get("/workspace/all.bin").field("content-type"), "application/octet-stream");
  EXPECT_EQ(put("/workspace/empty", "").status, 200);
  EXPECT_EQ(get("/workspace/empty").body, "");
  EXPECT_EQ(get("/workspace/missing").status, 404);
  EXPECT_EQ(get("/workspace/a").status, 400);
  EXPECT_EQ(get("/workspace/spaces and ünïcode %41?#").status, 404);
  EXPECT_EQ(put("/workspace/spaces and ünïcode %41?#", "odd").status, 200);
  EXPECT_EQ(get("/workspace/spaces and ünïcode %41?#").body, "odd");
}

TEST_F(Files, Ranges) {
  put("/workspace/r", "0123456789");
  EXPECT_EQ(get("/workspace/r", {{"range", "bytes=2-4"}}).body, "234");
  const auto part = get("/workspace/r", {{"range", "bytes=7-"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "789");
  EXPECT_EQ(part.field("content-range"), "bytes 7-9/10");
  EXPECT_EQ(get("/workspace/r", {{"range", "bytes=-3"}}).body, "789");
  EXPECT_EQ(get("/workspace/r", {{"range", "bytes=10-"}}).status, 416);
}

TEST_F(Files, SixtyFourMegabytesStreamBothWays) {
  http::client_request r;
  r.method = "PUT";
  r.target = route("/content?path=/workspace/big");
  r.fields = {{"content-type", "application/octet-stream"}};
  std::size_t left = 64;
  r.body_source = [&left]() -> result<std::string> {
    if (left == 0) return std::string();
    return std::string(1 << 20, static_cast<char>('a' + --left % 26));
  };
  EXPECT_EQ(raw(std::move(r)).status, 200);
  EXPECT_EQ(exec(id, "stat -c %s big; sha256sum < big")["stdout"].get<std::string>().substr(0, 9), "67108864\n");
  http::client_request g;
  g.target = route("/content?path=/workspace/big");
  auto stream = http.open(g);
  ASSERT_TRUE(stream);
  std::size_t total = 0;
  while (true) {
    auto piece = stream->read();
    ASSERT_TRUE(piece) << describe(piece.error());
    if (piece->empty()) break;
    total += piece->size();
  }
  EXPECT_EQ(total, 64u << 20);
}

TEST_F(Files, FoldersMovesCopiesLinksModes) {
  call("POST", route("/mkdir"), {{"path", "/workspace/d/e"}, {"parents", true}});
  put("/workspace/d/f", "f");
  call("POST", route("/move"), {{"from", "/workspace/d/f"}, {"to", "/workspace/d/e/g"}});
  call("POST", route("/copy"), {{"from", "/workspace/d"}, {"to", "/workspace/copy"}});
  call("POST", route("/chmod"), {{"path", "/workspace/copy/e/g"}, {"mode", "0700"}});
  call("POST", route("/symlink"), {{"target", "copy/e/g"}, {"path", "/workspace/link"}});
  EXPECT_EQ(exec(id, "stat -c '%a %F' copy/e/g; cat link; test ! -e d/f && echo moved")["stdout"],
            "700 regular file\nfmoved\n");
  EXPECT_EQ(call("GET", route("/stat?path=/workspace/link"))["type"], "symlink");
  bool seen = false;
  for (const auto& row : call("GET", route("?path=/workspace")))
    seen |= row["name"] == "copy" && row["type"] == "directory";
  EXPECT_TRUE(seen);
  EXPECT_FALSE(http.call("DELETE", route("?path=/workspace/copy")));  // not empty, not recursive
  call("DELETE", route("?path=/workspace/copy&recursive=true"));
  EXPECT_EQ(refused("GET", route("/stat?path=/workspace/copy")).code, errc::not_found);
  EXPECT_NE(refused("DELETE", route("?path=/&recursive=true")).code, errc::internal);
  EXPECT_EQ(refused("POST", route("/chmod"), {{"path", "/workspace/d"}, {"mode", "9x"}}).path, "/mode");
}

TEST_F(Files, AModeInTheQueryIsOctal) {
  http::client_request r;
  r.method = "PUT";
  r.target = route("/content?path=/workspace/run.sh&mode=755");
  r.body = "#!/bin/sh\necho ran\n";
  r.fields = {{"content-type", "application/octet-stream"}};
  EXPECT_EQ(raw(std::move(r)).status, 200);
  EXPECT_EQ(exec(id, "stat -c %a run.sh; ./run.sh")["stdout"], "755\nran\n");
  const json entry = call("GET", route("/stat?path=/workspace/run.sh"));
  EXPECT_EQ(entry["mode"], "0755");
  EXPECT_TRUE(entry["mod_time"].get<std::string>().starts_with("20")) << entry.dump();
}

TEST_F(Files, SearchGivesTheLinesAround) {
  put("/workspace/s.txt", "one\ntwo\nneedle\nfour\nfive");
  const json found = call("POST", route("/search"), {{"pattern", "needle"}, {"context", 1}, {"path", "/workspace"}});
  ASSERT_EQ(found["matches"].size(), 1u) << found.dump();
  EXPECT_EQ(found["matches"][0]["line"], 3);
  EXPECT_EQ(found["matches"][0]["before"], json::array({"two"}));
  EXPECT_EQ(found["matches"][0]["after"], json::array({"four"}));
  const json wide = call("POST", route("/search"), {{"pattern", "needle"}, {"context", 20}, {"path", "/workspace"}});
  EXPECT_EQ(wide["matches"][0]["before"].size(), 2u);
  EXPECT_EQ(wide["matches"][0]["after"].size(), 2u);
  EXPECT_EQ(refused("POST", route("/search"), {{"pattern", "x"}, {"context", 21}}).path, "/context");
}

TEST_F(Files, SpecialFilesNeverHang) {
  exec(id, "mkfifo pipe; ln -s pipe link");
  for (const char* path : {"/workspace/pipe", "/workspace/link", "/dev/zero"}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_GE(get(path).status, 400) << path;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3)) << path;
  }
}

TEST_F(Files, LinksLeadNowhereOutsideTheBox) {
  exec(id, "ln -s / root; ln -s /etc/shadow shadow");
  EXPECT_NE(get("/workspace/shadow").status, 200);
  const auto host_file = temporary_folder() / "secret";
  EXPECT_EQ(get("/workspace/root" + host_file.string()).status, 404);
  std::filesystem::remove_all(host_file.parent_path());
}

TEST_F(Files, GlobAndSearch) {
  exec(id,
       "mkdir -p src/deep ignored; echo 'needle here' > src/deep/a.cpp; echo needle > ignored/b.cpp; echo ignored/ > "
       ".gitignore; git init -q .");
  const json globbed = call("POST", route("/glob"), {{"pattern", "**/*.cpp"}, {"path", "/workspace"}});
  EXPECT_NE(globbed.dump().find("a.cpp"), std::string::npos);
  const json found = call("POST", route("/search"), {{"pattern", "need[l]e"}, {"path", "/workspace"}});
  EXPECT_NE(found.dump().find("a.cpp"), std::string::npos);
  EXPECT_EQ(found.dump().find("b.cpp"), std::string::npos);
  EXPECT_EQ(refused("POST", route("/search"), {{"pattern", "("}}).code, errc::invalid_argument);
}

TEST_F(Files, WatchTellsOfChanges) {
  http::client_request r;
  r.target = route("/watch?path=/workspace");
  auto items = http.events(r);
  ASSERT_TRUE(items) << describe(items.error());
  auto other = host->client();
  ASSERT_TRUE(other.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "echo x > watched"}}));
  bool seen = false;
  for (int i = 0; i < 10 && !seen; ++i) {
    auto item = items->next();
    ASSERT_TRUE(item) << describe(item.error());
    ASSERT_TRUE(*item);
    seen = (*item)->data.find("watched") != std::string::npos;
  }
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace caged::testing
