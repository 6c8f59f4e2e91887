// The git tools: hostile repositories first, then what they are for.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/unit/mcp/mcp_client.hpp"

namespace caged::test {
namespace {

namespace fs = std::filesystem;

class mcp_git : public mcp_workspace {
 protected:
  void SetUp() override {
    mcp_workspace::SetUp();
    fs::create_directory(folder_ + "/home");
    put("../home/.gitconfig", "[user]\nname = Tester\nemail = t@example.org\n[init]\ndefaultBranch = main\n");
    client_ = std::make_unique<mcp_client>(root_, std::vector<std::string>{},
                                           std::map<std::string, std::string>{{"HOME", folder_ + "/home"}});
    client_->initialize();
  }
  void TearDown() override {
    client_.reset();
    mcp_workspace::TearDown();
  }
  json call(const std::string& tool, json arguments = json::object()) {
    return client_->call(tool, std::move(arguments));
  }
  void sh(const std::string& command) const {
    ASSERT_EQ(0, std::system(("cd " + root_ + " && HOME=" + folder_ + "/home && export HOME && (" + command +
                              ") >/dev/null 2>&1")
                                 .c_str()))
        << command;
  }
  std::unique_ptr<mcp_client> client_;
};

TEST_F(mcp_git, looks_for_a_repository_in_the_workspace_only) {
  ASSERT_EQ(0, std::system(("git init -q " + folder_).c_str()));
  for (const char* tool : {"git_status", "git_diff", "git_log"}) failed_with(call(tool), "no git repository");
  failed_with(call("git_commit", {{"message", "x"}}), "no git repository");
  failed_with(call("git_status", {{"repo", ".."}}), "outside");
  failed_with(call("git_status", {{"repo", "/"}}), "not inside");
}

TEST_F(mcp_git, refuses_a_repository_that_lies_elsewhere) {
  sh("git init -q ../ws-secret && cd ../ws-secret && git add -A && git commit -qm secret");
  put(".git", "gitdir: ../ws-secret/.git\n");
  failed_with(call("git_log"), "outside");
  fs::remove(root_ + "/.git");
  fs::create_symlink("../ws-secret/.git", root_ + "/.git");
  failed_with(call("git_log"), "outside");
  fs::remove(root_ + "/.git");
  sh("git init -q . && echo $PWD/../ws-secret/.git/objects > .git/objects/info/alternates");
  failed_with(call("git_log", {{"ref", "HEAD"}}), "outside");
  fs::remove_all(root_ + "/.git");
  sh("git init -q . && rm -rf .git/objects && ln -s ../../ws-secret/.git/objects .git/objects");
  failed_with(call("git_log"), "outside");
  fs::remove_all(root_ + "/.git");
  sh("git init -q . && echo ../../ws-secret/.git > .git/commondir");
  failed_with(call("git_log"), "outside");
  fs::remove_all(root_ + "/.git");
  // A work tree elsewhere is simply not used.
  sh("git init -q . && git config core.worktree ../../ws-secret");
  EXPECT_EQ(std::string::npos, client_->text("git_status").find("key"));
}

TEST_F(mcp_git, runs_nothing_that_a_repository_names) {
  put("a.txt", "one\n");
  sh("git init -q . && git add -A && git commit -qm first");
  const std::string evil = "sh -c 'touch " + folder_ + "/ran; cat'";
  put(".gitattributes", "*.txt filter=evil diff=evil merge=evil\n");
  for (const char* key :
       {"core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "diff.external",
        "diff.evil.command", "diff.evil.textconv", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
        "merge.evil.driver", "credential.helper", "gpg.program", "sequence.editor", "pager.log", "pager.status",
        "pager.diff", "interactive.diffFilter"})
    sh("git config " + std::string(key) + " \"" + evil + "\"");
  sh("git config filter.evil.required true && git config commit.gpgSign true && git config log.showSignature true && "
     "git config alias.status '!touch ../ran'");
  sh("git config --file .git/more filter.other.clean \"" + evil +
     "\" && git config include.path more && echo '*.md filter=other' >> .gitattributes");
  for (const char* hook :
       {"pre-commit", "commit-msg", "post-commit", "prepare-commit-msg", "post-index-change", "fsmonitor-watchman"}) {
    put(".git/hooks/" + std::string(hook), "#!/bin/sh\ntouch " + folder_ + "/ran\n");
    fs::permissions(root_ + "/.git/hooks/" + hook, fs::perms(0755));
  }
  put("hooks/pre-commit", "#!/bin/sh\ntouch " + folder_ + "/ran\n");
  fs::permissions(root_ + "/hooks/pre-commit", fs::perms(0755));
  sh("git config core.hooksPath hooks");
  fs::remove(folder_ + "/ran");
  put("a.txt", "two\n");
  put("b.md", "new\n");
  for (const char* tool : {"git_status", "git_diff", "git_log", "git_show", "git_branch"}) {
    EXPECT_FALSE(call(tool).value("isError", false)) << tool << call(tool);
    EXPECT_FALSE(fs::exists(folder_ + "/ran")) << tool;
  }
  const json commit = call("git_commit", {{"message", "second"}});
  EXPECT_FALSE(commit.value("isError", false)) << commit;
  EXPECT_FALSE(fs::exists(folder_ + "/ran"));
  EXPECT_NE(std::string::npos, client_->text("git_show").find("+two"));
}

TEST_F(mcp_git, takes_no_option_for_a_name) {
  put("a", "x");
  sh("git init -q . && git add -A && git commit -qm first");
  const std::string target = folder_ + "/written";
  for (const std::string& value : {"--output=" + target, std::string("-c"), std::string("--ext-diff"), std::string(""),
                                   std::string("a\nb"), std::string("-")}) {
    failed_with(call("git_diff", {{"ref", value}}), "not the name");
    failed_with(call("git_log", {{"ref", value}}), "not the name");
    failed_with(call("git_show", {{"ref", value}}), "not the name");
    failed_with(call("git_branch", {{"create", value}}), "not the name");
  }
  call("git_diff", {{"path", "--output=" + target}});
  call("git_commit", {{"message", "m"}, {"paths", {"--output=" + target}}});
  failed_with(call("git_commit", {{"message", "m"}, {"paths", {"../ws-secret/key"}}}), "outside repository");
  failed_with(call("git_log", {{"count", "5"}}), "count");
  failed_with(call("git_commit", {{"message", " \n"}}), "blank");
  failed_with(call("git_show", {{"ref", "nope"}}), "git failed");
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(mcp_git, works_as_its_description_says) {
  sh("git init -q .");
  put("a", "one\n");
  put("\xc3\xa4 b", "x\n");
  const json status = call("git_status");
  EXPECT_EQ("?? a\n?? \"\xc3\xa4 b\"\n", status.at("content").at(0).at("text"));
  const json commit = call("git_commit", {{"message", "-m starts with a dash\n\nbody"}});
  EXPECT_EQ(40u, commit.at("structuredContent").at("commit").get<std::string>().size()) << commit;
  EXPECT_TRUE(call("git_status").at("structuredContent").at("clean"));
  put("a", "two\n");
  EXPECT_NE(std::string::npos, client_->text("git_diff").find("-one\n+two"));
  EXPECT_EQ("no differences", client_->text("git_diff", {{"staged", true}}));
  EXPECT_EQ("no differences", client_->text("git_diff", {{"path", "\xc3\xa4 b"}}));
  put("c", "c");
  call("git_commit", {{"message", "only c"}, {"paths", {"c"}}});
  const json log = call("git_log", {{"count", 5}}).at("structuredContent").at("commits");
  ASSERT_EQ(2u, log.size());
  EXPECT_EQ("only c", log[0].at("subject"));
  EXPECT_EQ("Tester", log[0].at("author"));
  EXPECT_EQ("-m starts with a dash", log[1].at("subject"));
  EXPECT_FALSE(call("git_branch", {{"create", "topic"}, {"ref", "HEAD~1"}}).value("isError", false));
  EXPECT_EQ("* main\n  topic\n", client_->text("git_branch"));
  failed_with(call("git_branch", {{"create", "topic"}}), "already exists");
  call("git_commit", {{"message", "rest"}});
  failed_with(call("git_commit", {{"message", "nothing"}}), "git failed");
  put("sub/x", "x");
  EXPECT_EQ("?? sub/\n", client_->text("git_status", {{"repo", "sub"}}));
}

}  // namespace
}  // namespace caged::test
