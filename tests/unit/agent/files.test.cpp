// Files over the wire, with what a hostile or careless tree may hold.
#include <sys/stat.h>

#include "tests/unit/agent/agent_fixture.hpp"

namespace caged::test {
namespace {

class text_source final : public byte_source {
 public:
  explicit text_source(std::string text, std::size_t piece = 60000) : text_(std::move(text)), piece_(piece) {}
  task<std::string> read() override {
    const std::string part = text_.substr(done_, piece_);
    done_ += part.size();
    co_return part;
  }

 private:
  std::string text_;
  std::size_t piece_, done_ = 0;
};

class broken_source final : public byte_source {
 public:
  task<std::string> read() override {
    if (first_) {
      first_ = false;
      co_return std::string(100000, 'n');
    }
    co_return fail(errc::unavailable, "source_broke", "the sender went away");
  }

 private:
  bool first_ = true;
};

struct content {
  json head;
  std::string bytes;
  std::optional<error> failure;
};

class agent_files : public agent_fixture {
 protected:
  result<json> write(json args, std::string text) {
    std::shared_ptr<byte_source> source = std::make_shared<text_source>(std::move(text));
    return run(client().write_file(std::move(args), source));
  }
  content read(json args) {
    content c;
    auto d = run(client().read_file(std::move(args)));
    if (!d) {
      c.failure = d.error();
      return c;
    }
    c.head = d->head;
    for (;;) {
      auto piece = run(d->bytes->read());
      if (!piece) c.failure = piece.error();
      if (!piece || piece->empty()) return c;
      c.bytes += *piece;
    }
  }
  std::string host_read(const std::string& name) {
    std::ifstream in(ws(name), std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  }
  void host_write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(ws(name)).parent_path());
    std::ofstream(ws(name), std::ios::binary) << text;
  }
  std::vector<std::string> leftovers() {
    std::vector<std::string> found;
    for (const auto& e : std::filesystem::directory_iterator(folder_ + "/ws"))
      if (e.path().filename().string().rfind(".caged", 0) == 0) found.push_back(e.path());
    return found;
  }
};

TEST_F(agent_files, refuses_what_is_no_file_without_blocking) {
  ASSERT_EQ(0, ::mkfifo(ws("pipe").c_str(), 0644));
  EXPECT_EQ("not_regular_file", read({{"path", ws("pipe")}}).failure->reason);
  EXPECT_EQ("not_regular_file", read({{"path", "/dev/zero"}}).failure->reason);
  EXPECT_EQ("is_a_directory", read({{"path", ws("")}}).failure->reason);
  EXPECT_EQ("no_such_file", read({{"path", ws("none")}}).failure->reason);
  EXPECT_EQ("/path", read({{"path", ""}}).failure->path);
  EXPECT_EQ("/path", read(json::object()).failure->path);
  EXPECT_EQ("not_regular_file", write({{"path", ws("pipe")}}, "x").error().reason);
  EXPECT_EQ("not_regular_file", write({{"path", "/dev/null"}}, "x").error().reason);
  EXPECT_EQ("is_a_directory", write({{"path", ws("")}}, "x").error().reason);
  EXPECT_EQ("no_such_file", write({{"path", ws("no/parent")}}, "x").error().reason);
  EXPECT_EQ("/offset", read({{"path", ws("pipe")}, {"offset", -1}}).failure->path);
}

TEST_F(agent_files, a_big_binary_round_trips_byte_equal) {
  std::string all(8 << 20, '\0');
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 2654435761u >> 13);
  const auto written = write({{"path", "deep/er/big.bin"}, {"create_parents", true}, {"size", all.size()}}, all);
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_TRUE(written->at("created").get<bool>());
  EXPECT_TRUE(host_read("deep/er/big.bin") == all);
  const content c = read({{"path", "deep/er/big.bin"}});
  EXPECT_EQ(all.size(), c.head.at("size").get<std::size_t>());
  EXPECT_TRUE(c.bytes == all);
  EXPECT_EQ(all.substr(1000003, 70001),
            read({{"path", "deep/er/big.bin"}, {"offset", 1000003}, {"length", 70001}}).bytes);
  EXPECT_EQ("", read({{"path", "deep/er/big.bin"}, {"offset", 1 << 30}}).bytes);
}

TEST_F(agent_files, reads_what_only_claims_to_be_empty) {
  EXPECT_NE(std::string::npos, read({{"path", "/proc/self/status"}}).bytes.find("caged-agent"));
  host_write("empty", "");
  EXPECT_EQ("", read({{"path", "empty"}}).bytes);
}

TEST_F(agent_files, a_write_keeps_mode_and_follows_the_symlink) {
  host_write("real", "old");
  ::chmod(ws("real").c_str(), 0751);
  ASSERT_EQ(0, ::symlink("real", ws("link").c_str()));
  ASSERT_TRUE(write({{"path", "link"}}, "new"));
  EXPECT_EQ("new", host_read("real"));
  EXPECT_TRUE(std::filesystem::is_symlink(ws("link")));
  struct stat st {};
  ::stat(ws("real").c_str(), &st);
  EXPECT_EQ(0751u, st.st_mode & 07777);
  ASSERT_TRUE(write({{"path", "real"}, {"append", true}}, "er"));
  EXPECT_EQ("newer", host_read("real"));
  EXPECT_EQ("already_exists", write({{"path", "real"}, {"exclusive", true}}, "x").error().reason);
}

TEST_F(agent_files, a_failed_upload_leaves_the_old_file_and_nothing_else) {
  host_write("kept", "old");
  std::shared_ptr<byte_source> source = std::make_shared<broken_source>();
  EXPECT_EQ("source_broke", run(client().write_file(json{{"path", "kept"}}, source)).error().reason);
  EXPECT_EQ("size_mismatch", write({{"path", "kept"}, {"size", 3}}, std::string(500000, 'x')).error().reason);
  EXPECT_EQ("size_mismatch", write({{"path", "kept"}, {"size", 30}}, "short").error().reason);
  source = std::make_shared<broken_source>();
  EXPECT_FALSE(run(client().write_file(json{{"path", "kept"}, {"append", true}}, source)));
  EXPECT_EQ("old", host_read("kept"));
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(agent_files, describes_and_lists) {
  host_write("a/b/c.txt", "1234");
  ASSERT_EQ(0, ::symlink("/nowhere", ws("a/dangling").c_str()));
  const auto st = ask("file.stat", {{"path", "a/b/c.txt"}});
  EXPECT_EQ("file", st->at("type"));
  EXPECT_EQ(4, st->at("size"));
  EXPECT_EQ(ws("a/b/c.txt"), st->at("path"));
  EXPECT_EQ("/nowhere", ask("file.stat", {{"path", "a/dangling"}})->at("symlink_target"));
  EXPECT_FALSE(ask("file.stat", {{"path", "a/dangling"}, {"follow", true}}));
  EXPECT_EQ(2u, ask("file.list", {{"path", "a"}})->at("entries").size());
  EXPECT_EQ(3u, ask("file.list", {{"path", "a"}, {"depth", 2}})->at("entries").size());
  const auto cut = ask("file.list", {{"path", "a"}, {"depth", 9}, {"limit", 1}});
  EXPECT_EQ(1u, cut->at("entries").size());
  EXPECT_TRUE(cut->at("truncated").get<bool>());
  EXPECT_EQ("c.txt", ask("file.list", {{"path", "a/b/"}})->at("entries").at(0).at("name"));
  host_write(std::string("odd\xff") + "name", "x");
  EXPECT_EQ("b2Rk/25hbWU=", ask("file.list")->at("entries").at(1).at("name_base64"));
  EXPECT_EQ(1, ask("file.stat", {{"path_base64", "b2Rk/25hbWU="}})->at("size"));
}

TEST_F(agent_files, lists_thousands_of_files_in_one_answer) {
  for (int i = 0; i < 4000; ++i) host_write("many/some-rather-long-file-name-" + std::to_string(i), "");
  EXPECT_EQ(4000u, ask("file.list", {{"path", "many"}})->at("entries").size());
}

TEST_F(agent_files, removes_trees_but_never_follows_links_or_takes_roots) {
  host_write("outside/precious", "p");
  host_write("tree/x/y", "1");
  std::filesystem::create_directory_symlink(ws("outside"), ws("tree/x/link"));
  EXPECT_EQ("protected_path", ask("file.remove", {{"path", "/"}}).error().reason);
  EXPECT_EQ("protected_path", ask("file.remove", {{"path", "."}}).error().reason);
  EXPECT_EQ("protected_path", ask("file.remove", {{"path", ws("")}}).error().reason);
  EXPECT_EQ("protected_path",
            ask("file.remove", {{"path", folder_ + "/../" + folder_.substr(5) + "/ws"}}).error().reason);
  EXPECT_FALSE(ask("file.remove", {{"path", ""}}));
  EXPECT_FALSE(ask("file.remove", {{"path", "tree/.."}}));
  EXPECT_EQ("directory_not_empty", ask("file.remove", {{"path", "tree"}, {"recursive", false}}).error().reason);
  ASSERT_TRUE(ask("file.remove", {{"path", "tree"}}));
  EXPECT_FALSE(std::filesystem::exists(ws("tree")));
  EXPECT_EQ("p", host_read("outside/precious"));
  EXPECT_EQ("no_such_file", ask("file.remove", {{"path", "tree"}}).error().reason);
  EXPECT_TRUE(ask("file.remove", {{"path", "tree"}, {"missing_ok", true}}));
}

TEST_F(agent_files, removes_a_tree_deeper_than_descriptors_reach) {
  std::string path = ws("deep");
  for (int i = 0; i < 700; ++i) path += "/d";
  std::filesystem::create_directories(path);
  ASSERT_TRUE(ask("file.remove", {{"path", "deep"}}));
  EXPECT_TRUE(std::filesystem::is_empty(ws("")));
}

TEST_F(agent_files, makes_moves_copies_and_changes_modes) {
  EXPECT_TRUE(ask("file.mkdir", {{"path", "m/n"}})->at("created").get<bool>());
  EXPECT_FALSE(ask("file.mkdir", {{"path", "m/n"}})->at("created").get<bool>());
  EXPECT_EQ("already_exists", ask("file.mkdir", {{"path", "m"}, {"parents", false}}).error().reason);
  host_write("m/f", "data");
  EXPECT_FALSE(ask("file.mkdir", {{"path", "m/f"}}));
  ASSERT_TRUE(ask("file.symlink", {{"path", "m/l"}, {"target", "f"}}));
  ASSERT_TRUE(ask("file.copy", {{"from", "m"}, {"to", "copy"}}));
  EXPECT_EQ("data", host_read("copy/f"));
  EXPECT_TRUE(std::filesystem::is_symlink(ws("copy/l")));
  EXPECT_TRUE(ask("file.copy", {{"from", "m"}, {"to", "m/self"}}));
  EXPECT_FALSE(std::filesystem::exists(ws("m/self/self")));
  host_write("target", "t");
  EXPECT_EQ("already_exists",
            ask("file.move", {{"from", "copy/f"}, {"to", "target"}, {"overwrite", false}}).error().reason);
  ASSERT_TRUE(ask("file.move", {{"from", "copy/f"}, {"to", "new/place/f"}, {"create_parents", true}}));
  EXPECT_EQ("data", host_read("new/place/f"));
  EXPECT_EQ("protected_path", ask("file.move", {{"from", ws("")}, {"to", "/tmp/caged-moved"}}).error().reason);
  ASSERT_TRUE(ask("file.chmod", {{"path", "target"}, {"mode", 0600}}));
  EXPECT_EQ(0600, ask("file.stat", {{"path", "target"}})->at("mode"));
  EXPECT_EQ("/mode", ask("file.chmod", {{"path", "target"}, {"mode", 99999}}).error().path);
  // Another file system: copied, then removed.
  ASSERT_TRUE(ask("file.move", {{"from", "target"}, {"to", "/dev/shm/caged-" + folder_.substr(5)}}));
  EXPECT_FALSE(std::filesystem::exists(ws("target")));
  ASSERT_TRUE(ask("file.remove", {{"path", "/dev/shm/caged-" + folder_.substr(5)}}));
}

asio::awaitable<json> changes_until(std::shared_ptr<item_source> items, std::string path) {
  json seen = json::object();
  for (;;) {
    auto item = co_await items->next();
    if (!item || !*item) co_return seen;
    seen[(*item)->data.at("path").get<std::string>()] = (*item)->data.at("operation");
    if ((*item)->data.at("path").get<std::string>() == path) co_return seen;
  }
}

TEST_F(agent_files, watches_folders_that_come_later_and_joins_changes) {
  host_write("gone", "1");
  auto items = run(client().watch({{"path", "."}, {"debounce_ms", 50}}));
  ASSERT_TRUE(items);
  std::filesystem::create_directories(ws("one/two"));
  host_write("one/two/three", "abc");
  std::filesystem::remove(ws("gone"));
  host_write("brief", "x");
  std::filesystem::remove(ws("brief"));
  ::usleep(150000);
  host_write("one/two/z-last", "end");
  const json seen = run(changes_until(*items, "one/two/z-last"));
  EXPECT_EQ("create", seen.value("one/two/three", "")) << seen.dump();
  EXPECT_EQ("delete", seen.value("gone", "")) << seen.dump();
  EXPECT_FALSE(seen.contains("brief")) << seen.dump();
  EXPECT_EQ("no_such_file", run(client().watch({{"path", "nowhere"}})).error().reason);
  EXPECT_EQ("not_a_directory", run(client().watch({{"path", "one/two/three"}})).error().reason);
}

TEST_F(agent_files, globs_across_folders) {
  for (const char* name : {"a.txt", "src/b.txt", "src/deep/c.txt", "src/d.cpp", ".hidden/e.txt"}) host_write(name, "");
  const auto paths = [&](const std::string& pattern) {
    std::string text;
    const auto found = ask("file.glob", {{"pattern", pattern}});
    for (const json& row : found->at("paths")) text += row.at("path").get<std::string>() + " ";
    return text;
  };
  EXPECT_EQ(".hidden/e.txt a.txt src/b.txt src/deep/c.txt ", paths("**/*.txt"));
  EXPECT_EQ("a.txt ", paths("*.txt"));
  EXPECT_EQ("src/b.txt src/d.cpp ", paths("src/*.{txt,cpp}"));
  EXPECT_EQ("src/deep/c.txt ", paths("src/**/[c-d].txt"));
  EXPECT_EQ("", paths("nothing/**"));
  EXPECT_TRUE(ask("file.glob", {{"pattern", "**"}, {"limit", 2}})->at("truncated").get<bool>());
  EXPECT_EQ("/pattern", ask("file.glob", {{"pattern", ""}}).error().path);
  EXPECT_EQ("/pattern", ask("file.glob", {{"pattern", "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"}}).error().path);
  const auto began = std::chrono::steady_clock::now();
  host_write(std::string(200, 'a'), "");
  paths("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
}

TEST_F(agent_files, searches_lines_and_respects_gitignore) {
  host_write(".gitignore", "*.log\n/build/\n!keep.log\n# comment\n");
  host_write("src/.gitignore", "local\n");
  host_write("src/main.c", "int main() {\n  return needle;\n}\n");
  host_write("src/local/x.c", "needle");
  host_write("build/out.c", "needle");
  host_write("deep/build/kept.c", "a needle\n");
  host_write("x.log", "needle");
  host_write("keep.log", "needle");
  host_write("binary", std::string("needle\0needle", 13));
  host_write("long", std::string(100000, 'x') + "needle" + std::string(100000, 'y'));
  const auto found = ask("file.search", {{"pattern", "ne+dle"}});
  ASSERT_TRUE(found) << found.error().message;
  std::string where;
  for (const json& m : found->at("matches")) where += m.at("path").get<std::string>() + ":" + m.at("line").dump() + " ";
  EXPECT_EQ("deep/build/kept.c:1 keep.log:1 long:1 src/main.c:2 ", where);
  EXPECT_LE(found->at("matches").at(2).at("text").get<std::string>().size(), 400u);
  EXPECT_EQ(10, found->at("matches").at(3).at("column"));
  EXPECT_EQ(1u, ask("file.search", {{"pattern", "^int"}, {"glob", "**/*.c"}})->at("matches").size());
  EXPECT_EQ(1u, ask("file.search", {{"pattern", "main()"}, {"literal", true}})->at("matches").size());
  EXPECT_TRUE(ask("file.search", {{"pattern", "."}, {"limit", 2}})->at("truncated").get<bool>());
  EXPECT_EQ("/pattern", ask("file.search", {{"pattern", "(unclosed"}}).error().path);
  EXPECT_EQ("/pattern", ask("file.search", {{"pattern", "((a{100}){100}){100}"}}).error().path);
}

TEST_F(agent_files, a_regex_bomb_is_only_a_search) {
  host_write("bomb", std::string(1 << 20, 'a'));
  const auto began = std::chrono::steady_clock::now();
  const auto found = ask("file.search", {{"pattern", "(a*)*(a+)+b"}});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->at("matches").empty());
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

}  // namespace
}  // namespace caged::test
