// The file tools, with the attacks first.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <sys/sysmacros.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/unit/mcp/mcp_client.hpp"

namespace caged::test {
namespace {

namespace fs = std::filesystem;

class mcp_files : public mcp_workspace {
 protected:
  void SetUp() override {
    mcp_workspace::SetUp();
    client_ = std::make_unique<mcp_client>(root_);
    client_->initialize();
  }
  void TearDown() override {
    client_.reset();
    mcp_workspace::TearDown();
  }
  json call(const std::string& tool, json arguments) { return client_->call(tool, std::move(arguments)); }
  std::unique_ptr<mcp_client> client_;
};

TEST_F(mcp_files, refuses_every_way_out) {
  fs::create_symlink("/etc", root_ + "/folder");
  fs::create_symlink("../ws-secret/key", root_ + "/file");
  fs::create_symlink("folder", root_ + "/chain");
  fs::create_symlink("../ws-secret/new", root_ + "/dangling");
  fs::create_symlink("/proc/self/root/etc", root_ + "/proc");
  put("in/x", "x");
  const std::vector<std::string> paths{"../ws-secret/key",
                                       "in/../../ws-secret/key",
                                       "./..//ws-secret/key",
                                       folder_ + "/ws-secret/key",
                                       "/etc/passwd",
                                       "folder/passwd",
                                       "file",
                                       "chain/passwd",
                                       "proc/passwd",
                                       root_ + "/../ws-secret/key",
                                       root_ + "-secret/key",
                                       "..",
                                       "/"};
  for (const std::string& path : paths) {
    for (const char* tool : {"file_read", "file_list", "file_delete"}) {
      if (tool == std::string("file_delete") && path == "file") continue;  // a link may be deleted; its target may not
      const json result = call(tool, {{"path", path}});
      EXPECT_TRUE(result.value("isError", false)) << tool << " " << path << result;
      EXPECT_EQ(std::string::npos, result.dump().find("SECRET")) << tool << " " << path;
    }
    EXPECT_TRUE(call("file_write", {{"path", path}, {"content", "x"}}).value("isError", false)) << path;
    EXPECT_TRUE(call("file_edit", {{"path", path}, {"old_text", "S"}, {"new_text", "x"}}).value("isError", false))
        << path;
    EXPECT_TRUE(call("file_search", {{"path", path}, {"pattern", "*"}, {"content", "."}}).value("isError", false))
        << path;
    EXPECT_TRUE(call("terminal_exec", {{"command", "pwd"}, {"cwd", path}}).value("isError", false)) << path;
  }
  EXPECT_TRUE(call("file_write", {{"path", "dangling"}, {"content", "x"}}).value("isError", false));
  EXPECT_FALSE(fs::exists(folder_ + "/ws-secret/new"));
  EXPECT_FALSE(call("file_delete", {{"path", "folder"}}).value("isError", false));
  EXPECT_TRUE(fs::exists("/etc/passwd"));
}

TEST_F(mcp_files, never_deletes_the_workspace) {
  put("a", "x");
  for (const char* path : {"", ".", "./", "/", "./.", "a/.."})
    EXPECT_TRUE(call("file_delete", {{"path", path}}).value("isError", false)) << path;
  EXPECT_TRUE(call("file_delete", {{"path", root_}}).value("isError", false));
  EXPECT_TRUE(call("file_delete", json::object()).value("isError", false));
  EXPECT_EQ("x", get("a"));
}

TEST_F(mcp_files, expands_nothing_in_a_path) {
  for (const char* path : {"~", "~/x", "$HOME/x", "file:///etc/passwd", "%2e%2e/ws-secret/key", "*"})
    failed_with(call("file_read", {{"path", path}}), "No such file");
  failed_with(call("file_read", {{"path", std::string("a\0b", 3)}}), "NUL");
  failed_with(call("file_read", {{"path", std::string(5000, 'a')}}), "4095");
  failed_with(call("file_read", {{"path", std::string(300, 'a')}}), "too long");
  failed_with(call("file_read", {{"path", 7}}), "not a string");
}

TEST_F(mcp_files, never_waits_for_pipes_sockets_and_devices) {
  ASSERT_EQ(0, ::mkfifo((root_ + "/fifo").c_str(), 0644));
  const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s/sock", root_.c_str());
  ASSERT_EQ(0, ::bind(s, reinterpret_cast<sockaddr*>(&address), sizeof address));
  if (::geteuid() == 0) {
    ASSERT_EQ(0, ::mknod((root_ + "/zero").c_str(), S_IFCHR | 0666, makedev(1, 5)));
  }
  for (const char* path : {"fifo", "sock", "zero"}) {
    if (!fs::exists(root_ + "/" + path)) continue;
    EXPECT_TRUE(call("file_read", {{"path", path}}).value("isError", false)) << path;
    EXPECT_TRUE(call("file_write", {{"path", path}, {"content", "x"}}).value("isError", false)) << path;
    EXPECT_TRUE(call("file_edit", {{"path", path}, {"old_text", "a"}, {"new_text", "b"}}).value("isError", false))
        << path;
  }
  EXPECT_FALSE(call("file_search", {{"pattern", "**"}, {"content", "x"}}).value("isError", false));
  EXPECT_FALSE(call("file_delete", {{"path", "fifo"}}).value("isError", false));
  ::close(s);
}

TEST_F(mcp_files, stays_inside_while_a_folder_is_swapped_for_a_link) {
  fs::create_directory(root_ + "/real");
  put("real/key", "inside");
  fs::create_symlink(folder_ + "/ws-secret", root_ + "/link");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop)
      ::renameat2(AT_FDCWD, (root_ + "/real").c_str(), AT_FDCWD, (root_ + "/link").c_str(), RENAME_EXCHANGE);
  });
  int inside = 0;
  for (int i = 0; i < 3000; ++i) {
    const json read = call("file_read", {{"path", "real/key"}});
    ASSERT_EQ(std::string::npos, read.dump().find("SECRET"));
    inside += read.value("isError", false) ? 0 : 1;
    call("file_write", {{"path", "real/new"}, {"content", "x"}});
    call("file_delete", {{"path", "real/new"}});
    call("file_list", {{"path", "real"}});
  }
  stop = true;
  swapper.join();
  EXPECT_GT(inside, 0);
  EXPECT_FALSE(fs::exists(folder_ + "/ws-secret/new"));
  EXPECT_TRUE(fs::exists(folder_ + "/ws-secret/key"));
}

TEST_F(mcp_files, reads_pages_and_says_where_to_go_on) {
  std::string text;
  for (int i = 1; i <= 20000; ++i) text += "line " + std::to_string(i) + "\n";
  put("big", text);
  const json first = call("file_read", {{"path", "big"}}).at("structuredContent");
  EXPECT_EQ(20000, first.at("total_lines"));
  EXPECT_TRUE(first.at("truncated"));
  std::string together = first.at("content").get<std::string>();
  EXPECT_LE(together.size(), 40000u);
  for (json next = first; next.contains("next_offset");) {
    next = call("file_read", {{"path", "big"}, {"offset", next.at("next_offset")}}).at("structuredContent");
    together += next.at("content").get<std::string>();
  }
  EXPECT_EQ(text, together);
  EXPECT_EQ("line 7\nline 8\n",
            call("file_read", {{"path", "big"}, {"offset", 7}, {"limit", 2}}).at("structuredContent").at("content"));
  EXPECT_EQ("line 19999\nline 20000\n",
            call("file_read", {{"path", "big"}, {"offset", -2}}).at("structuredContent").at("content"));
  failed_with(call("file_read", {{"path", "big"}, {"offset", 30000}}), "20000 lines");
  failed_with(call("file_read", {{"path", "big"}, {"offset", 0}}), "offset is 0");
  failed_with(call("file_read", {{"path", "big"}, {"limit", "all"}}), "limit");
}

TEST_F(mcp_files, reads_giant_lines_and_files_within_bounds) {
  std::string line;
  while (line.size() < 200'000) line += "\xc3\xa4";
  put("line", line);
  const json page = call("file_read", {{"path", "line"}}).at("structuredContent");
  EXPECT_EQ(40000u, page.at("content").get<std::string>().size());
  const json rest = call("file_read", {{"path", "line"}, {"byte_offset", 39999}}).at("structuredContent");
  EXPECT_EQ(79998, rest.at("next_byte_offset"));  // no half characters
  const int huge = ::open((root_ + "/sparse").c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_EQ(0, ::ftruncate(huge, off_t{1} << 40));
  ::close(huge);
  failed_with(call("file_read", {{"path", "sparse"}}), "not text");
  failed_with(call("file_read", {{"path", "sparse"}, {"offset", -1}}), "too big");
  EXPECT_EQ(40000u, call("file_read", {{"path", "sparse"}, {"encoding", "base64"}})
                        .at("structuredContent")
                        .at("content")
                        .get<std::string>()
                        .size());
  failed_with(call("file_edit", {{"path", "sparse"}, {"old_text", "a"}, {"new_text", "b"}}), "32 MiB");
  put("empty", "");
  EXPECT_EQ("", call("file_read", {{"path", "empty"}}).at("structuredContent").at("content"));
}

TEST_F(mcp_files, keeps_all_bytes_through_base64_and_shows_pictures) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  put("bin", bytes);
  const json read = call("file_read", {{"path", "bin"}, {"encoding", "base64"}});
  EXPECT_FALSE(call("file_write",
                    {{"path", "copy"}, {"content", read.at("structuredContent").at("content")}, {"encoding", "base64"}})
                   .value("isError", false));
  EXPECT_EQ(bytes, get("copy"));
  failed_with(call("file_write", {{"path", "copy"}, {"content", "%%%"}, {"encoding", "base64"}}), "not base64");
  put("a.png", std::string("\x89PNG\r\n\x1a\n\0\0\0", 11));
  const json picture = call("file_read", {{"path", "a.png"}});
  EXPECT_EQ("image", picture.at("content").at(0).at("type"));
  EXPECT_EQ("image/png", picture.at("content").at(0).at("mimeType"));
  put("latin", "caf\xe9\n");
  EXPECT_EQ("caf\xef\xbf\xbd\n", call("file_read", {{"path", "latin"}}).at("structuredContent").at("content"));
}

TEST_F(mcp_files, writes_at_once_and_keeps_mode_and_links) {
  EXPECT_EQ("wrote 5 bytes to deep/er/a", client_->text("file_write", {{"path", "deep/er/a"}, {"content", "hello"}}));
  EXPECT_EQ(0644u, static_cast<unsigned>(fs::status(root_ + "/deep/er/a").permissions()));
  fs::permissions(root_ + "/deep/er/a", fs::perms(0750));
  fs::create_symlink("deep/er/a", root_ + "/link");
  const json again = call("file_write", {{"path", "link"}, {"content", "new"}});
  EXPECT_FALSE(again.at("structuredContent").at("created"));
  EXPECT_TRUE(fs::is_symlink(root_ + "/link"));
  EXPECT_EQ("new", get("deep/er/a"));
  EXPECT_EQ(0750u, static_cast<unsigned>(fs::status(root_ + "/deep/er/a").permissions()));
  fs::permissions(root_ + "/deep/er/a", fs::perms(0444));
  failed_with(call("file_write", {{"path", "deep/er/a"}, {"content", "x"}}), "read-only");
  failed_with(call("file_write", {{"path", "deep"}, {"content", "x"}}), "folder");
  failed_with(call("file_write", {{"path", "deep/er/a/below"}, {"content", "x"}}), "Not a directory");
  EXPECT_EQ("new", get("deep/er/a"));
  // A hard link to a file outside: the workspace gets a file of its own, the other stays as it was.
  fs::create_hard_link(folder_ + "/ws-secret/key", root_ + "/hard");
  EXPECT_FALSE(call("file_write", {{"path", "hard"}, {"content", "mine"}}).value("isError", false));
  EXPECT_EQ("SECRET", get("../ws-secret/key"));
  for (const auto& entry : fs::recursive_directory_iterator(root_))
    EXPECT_EQ(std::string::npos, entry.path().string().find(".caged-")) << entry.path();
}

TEST_F(mcp_files, edits_only_what_is_unique) {
  put("a", "one\ntwo\nthree\ntwo\n");
  failed_with(call("file_edit", {{"path", "a"}, {"old_text", "two"}, {"new_text", "2"}}),
              "2 times in a, at lines 2, 4");
  failed_with(call("file_edit", {{"path", "a"}, {"old_text", "  three"}, {"new_text", "3"}}),
              "Its first line occurs at line 3");
  failed_with(call("file_edit", {{"path", "a"}, {"old_text", ""}, {"new_text", "3"}}), "empty");
  failed_with(call("file_edit", {{"path", "a"}, {"old_text", "x"}, {"new_text", "x"}}), "same");
  const json dry = call("file_edit", {{"path", "a"}, {"old_text", "three"}, {"new_text", "3"}, {"dry_run", true}});
  EXPECT_EQ("--- a/a\n+++ b/a\n@@ -1,4 +1,4 @@\n one\n two\n-three\n+3\n two\n",
            dry.at("structuredContent").at("diff"));
  EXPECT_EQ("one\ntwo\nthree\ntwo\n", get("a"));
  EXPECT_FALSE(call("file_edit", {{"path", "a"}, {"old_text", "two"}, {"new_text", "2"}, {"replace_all", true}})
                   .value("isError", false));
  EXPECT_EQ("one\n2\nthree\n2\n", get("a"));
  put("crlf",
      "\xef\xbb\xbf"
      "a\r\nb\r\nc");
  EXPECT_FALSE(
      call("file_edit", {{"path", "crlf"}, {"old_text", "a\nb"}, {"new_text", "a\nx\ny"}}).value("isError", false));
  EXPECT_EQ(
      "\xef\xbb\xbf"
      "a\r\nx\r\ny\r\nc",
      get("crlf"));
}

TEST_F(mcp_files, makes_diffs_that_patch_understands) {
  const std::vector<std::array<std::string, 3>> cases{
      {"a\nb\nc\n", "b\n", ""}, {"a\nb\nc\n", "a\n", ""},
      {"a\nb\nc", "c", "d\n"},  {"a\nb\nc\n", "b", "x\ny"},
      {"a\n", "a\n", ""},       {"a\nb\nc\n", "\nb", "-b"},
      {"ab", "b", ""},          {"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "5\n", "five\n5\n"}};
  for (const auto& [before, old_text, new_text] : cases) {
    put("f", before);
    const json edited = call("file_edit", {{"path", "f"}, {"old_text", old_text}, {"new_text", new_text}});
    ASSERT_FALSE(edited.value("isError", false)) << edited;
    const std::string after = get("f");
    put("f", before);
    put("p", edited.at("structuredContent").at("diff").get<std::string>());
    const json patched = call("terminal_exec", {{"command", "git apply --unsafe-paths -p1 p 2>&1 || patch -p1 < p"}});
    EXPECT_FALSE(patched.value("isError", false)) << patched << edited;
    EXPECT_EQ(after, get("f")) << edited;
  }
}

TEST_F(mcp_files, lists_kinds_and_depth_and_learns_nothing_of_targets) {
  put("d/e/f", "123");
  put("a", "x");
  fs::create_symlink("/etc/passwd", root_ + "/l");
  EXPECT_EQ("- 1 a\nd - d\nl 11 l\n", client_->text("file_list"));
  EXPECT_EQ("- 1 a\nd - d\nd - d/e\n- 3 d/e/f\nl 11 l\n", client_->text("file_list", {{"depth", 3}}));
  const json entries = call("file_list", {{"path", "d/e"}}).at("structuredContent");
  EXPECT_EQ((json{{{"name", "f"}, {"type", "file"}, {"size", 3}}}), entries.at("entries"));
  for (int i = 0; i < 1200; ++i) put("many/" + std::to_string(i), "");
  EXPECT_TRUE(call("file_list", {{"path", "many"}}).at("structuredContent").at("truncated"));
  failed_with(call("file_list", {{"path", "a"}}), "Not a directory");
  failed_with(call("file_list", {{"depth", 0}}), "depth");
}

TEST_F(mcp_files, searches_names_and_content_and_respects_gitignore) {
  put("src/a.cpp", "int needle = 1;\n");
  put("src/deep/b.cpp", "nothing\n// Needle\n");
  put("out/c.cpp", "needle\n");
  put("bin", std::string("needle\0", 7));
  put(".gitignore", "out/\n");
  EXPECT_EQ("src/a.cpp\nsrc/deep/b.cpp\n", client_->text("file_search", {{"pattern", "*.cpp"}}));
  EXPECT_EQ("src/a.cpp\n", client_->text("file_search", {{"pattern", "src/*.cpp"}}));
  EXPECT_EQ("src/deep/b.cpp\n", client_->text("file_search", {{"pattern", "*.cpp"}, {"path", "src/deep"}}));
  EXPECT_EQ("no matches found", client_->text("file_search", {{"pattern", "*.rs"}}));
  EXPECT_EQ("src/a.cpp:1:int needle = 1;\n", client_->text("file_search", {{"pattern", "*"}, {"content", "needle"}}));
  EXPECT_EQ("out/c.cpp\nsrc/a.cpp\nsrc/deep/b.cpp\n",
            client_->text("file_search", {{"pattern", "*.cpp"}, {"include_ignored", true}}));
  EXPECT_EQ(2, call("file_search", {{"pattern", "*.cpp"}, {"content", "NEEDLE"}, {"ignore_case", true}})
                   .at("structuredContent")
                   .at("count"));
  EXPECT_EQ("no matches found",
            client_->text("file_search", {{"pattern", "*"}, {"content", "needle.="}, {"literal", true}}));
  failed_with(call("file_search", {{"pattern", "*"}, {"content", "("}}), "regular expression");
  put("bomb", std::string(100000, 'a'));
  EXPECT_EQ("no matches found", client_->text("file_search", {{"pattern", "bomb"}, {"content", "(a|a|aa)*(a+)+$x"}}));
}

}  // namespace
}  // namespace caged::test
