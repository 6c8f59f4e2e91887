// What gets past a list of allowed commands: nothing that is not on it.
#include <unistd.h>

#include <filesystem>

#include "mcp/server/command_policy.hpp"
#include "mcp/server/shell_words.hpp"
#include "tests/unit/mcp/mcp_client.hpp"

namespace caged::test {
namespace {

using mcp::command_policy;

std::string refusal(const command_policy& policy, const std::string& command) {
  try {
    return "ALLOWED: " + policy.checked(command);
  } catch (const wire::failed& f) {
    EXPECT_EQ("command_refused", f.get().reason);
    EXPECT_FALSE(f.get().action.empty()) << command;
    return f.get().message;
  }
}

class command_list : public ::testing::TestWithParam<const char*> {};

TEST_P(command_list, is_not_evaded) {
  // Launchers and shells are listed on purpose: even then they start nothing else.
  const command_policy policy(std::vector<std::string>{
      "ls",   "echo", "grep", "find", "git",  "sh",  "bash",    "env", "xargs", "nice", "timeout", "command",
      "exec", "eval", "time", "tar",  "sort", "sed", "busybox", "if",  "for",   "{",    "!"});
  const std::string result = refusal(policy, GetParam());
  EXPECT_EQ(0u, result.find("refused: ")) << result;
}

INSTANTIATE_TEST_SUITE_P(
    attacks, command_list,
    ::testing::Values(
        "sudo id", "ls; sudo id", "ls && sudo id", "ls || sudo id", "ls | sudo id", "ls & sudo id", "ls\nsudo id",
        "ls |& sudo id", "!sudo id", "! sudo id", "env sudo id", "nice sudo id", "timeout 5 sudo id", "command sudo id",
        "exec sudo id", "eval sudo id", "time sudo id", "busybox sudo id", "xargs sudo", "echo id | xargs sudo",
        "sh -c 'sudo id'", "bash -c \"sudo id\"", "sh -c \"sh -c 'sudo id'\"", "sh script", "echo sudo | sh", "sh",
        "sh -s", "bash -lc ls", "s\\udo id", "su''do id", "s\"u\"do id", "x=sudo;$x", "x=sudo $x", "$(echo sudo) id",
        "`echo sudo` id", "echo $(sudo id)", "echo `sudo id`", "echo \"$(sudo id)\"", "echo \"`sudo id`\"",
        "echo $HOME", "echo ${HOME}", "echo \"$HOME\"", "echo $'\\x41'", "echo $((1+1))", "A=\"x y\" sudo id",
        "PATH=. ls", "LD_PRELOAD=./x.so ls", "IFS=x ls", "BASH_ENV=x bash -c ls", "GIT_SSH_COMMAND=x git fetch",
        "{ sudo id; }", "(sudo id)", "if true; then sudo id; fi", "for x in 1; do sudo id; done", "f() { sudo id; }; f",
        "function f { sudo id; }", "case x in x) sudo id;; esac", "/usr/bin/sudo id", "./ls", "/bin/ls", "../ls", "l*",
        "./*", "?s", "find . -exec sudo {} +", "find . -execdir sudo id \\;", "find . -ok id \\;",
        "find . -fprintf /etc/x a", "find . '-ex''ec' id", "cat <(sudo id)", "ls <(sudo id)", "ls > >(sudo id)",
        "ls <<EOF\nEOF", "ls <<< x", "echo x > /etc/passwd", "echo x > ../x", "echo x >> a/../../x",
        "echo x > .git/hooks/pre-commit", "echo x > ~/.bashrc", "ls ~", "echo x >| /etc/x", "echo x &> /etc/x",
        "echo x 2> /etc/x", "echo x >", "> x", "ls >&$x", "echo {a,b}", "git -c core.pager=sudo log",
        "git --exec-path=. status", "git -C .. status", "git --git-dir=/x status", "git -p log", "git sudo",
        "git config alias.x '!sudo id'", "git submodule foreach sudo", "git rebase -x sudo HEAD",
        "git rebase --exec=sudo HEAD", "git rebase --ex sudo HEAD", "git grep -O x",
        "git grep --open-files-in-pager=sudo x", "git diff --ext-diff", "git log --textconv",
        "git diff --output=/etc/x", "git fetch --upload-pack=sudo x", "git fetch ext::sudo", "git ls-remote ext::sudo",
        "git push --receive-pack=sudo x", "git bisect run sudo", "git difftool", "git filter-branch", "git help -a",
        "git *", "tar xf a --to-command=sudo", "tar -I sudo -xf a", "tar xf a --checkpoint-action=exec=sudo",
        "tar -cf a --use-comp=sudo x", "sort --compress-program=sudo a", "ls -*", "ls &&", "ls |", "| ls", "ls ;; ls",
        "ls && && ls", "'ls", "\"ls", "ls \\", "", "  ", "#ls", "A=1", "CI=1", "''", "ls\xff\n/bin/ls"));

TEST(command_policy, rewrites_what_it_understood) {
  const command_policy policy(std::vector<std::string>{"ls", "echo", "npm", "grep", "sed", "git", "sh"});
  EXPECT_EQ("'ls' '-la'", policy.checked("  ls   -la  "));
  EXPECT_EQ("'echo' 'a b' 'c'\\''d' ''", policy.checked("echo \"a b\" c\\'d ''"));
  EXPECT_EQ("'npm' 'test' | 'grep' '-v' 'x;y' && 'echo' 'done' ;",
            policy.checked("npm test | grep -v 'x;y' && echo done;"));
  EXPECT_EQ("'echo' 'x' >'out.txt' 2>&'1'", policy.checked("echo x >out.txt 2>&1"));
  EXPECT_EQ("'ls' './'*'.cpp' 'src/'?", policy.checked("ls *.cpp src/?"));
  EXPECT_EQ("CI='1' 'npm' 'test'", policy.checked("CI=1 npm test"));
  EXPECT_EQ("'echo' 'a' ; 'echo' 'b'", policy.checked("echo a # a comment; sudo id\necho b"));
  EXPECT_EQ("'echo' 'costs 5$'", policy.checked("echo \"costs 5$\""));
  EXPECT_EQ("'sed' '--sandbox' 's/a/b/' 'f'", policy.checked("sed s/a/b/ f"));
  EXPECT_EQ("'git' 'diff' '--no-ext-diff' '--no-textconv' 'HEAD'", policy.checked("git diff HEAD"));
  EXPECT_EQ("'sh' '-c' ''\\''ls'\\'''", policy.checked("sh -c ls"));
  EXPECT_EQ("'echo' 'ab'", policy.checked("echo a\\\nb"));
  EXPECT_EQ("anything $(at all)", command_policy(std::nullopt).checked("anything $(at all)"));
}

using mcp_commands = mcp_workspace;

TEST_F(mcp_commands, run_through_the_shell_as_they_were_understood) {
  put("a.txt", "one two\n");
  put("-rf", "never an option\n");
  mcp_client c(root_, {"--allowed-commands", "echo, cat,grep,wc"});
  c.initialize();
  EXPECT_EQ("a;b $x `y`\n", c.text("terminal_exec", {{"command", R"(echo 'a;b $x `y`')"}}));
  EXPECT_EQ("1\n", c.text("terminal_exec", {{"command", "cat a.txt | grep -c 'one two'"}}));
  EXPECT_EQ("one two\n", c.text("terminal_exec", {{"command", "cat *.txt"}}));
  EXPECT_EQ("./-rf ./a.txt\n", c.text("terminal_exec", {{"command", "echo *"}}));
  failed_with(c.call("terminal_exec", {{"command", "ls"}}),
              "ls is not an allowed command. Allowed: echo, cat, grep, wc");
  failed_with(c.call("process_start", {{"command", "sleep 1"}}), "sleep is not an allowed command");
  EXPECT_TRUE(c.call("terminal_exec", {{"command", "cat missing"}}).at("isError"));
}

TEST_F(mcp_commands, are_not_replaced_by_programs_of_the_workspace) {
  put("bin/echo", "#!/bin/sh\nprintf replaced\n");
  std::filesystem::permissions(root_ + "/bin/echo", std::filesystem::perms(0755));
  mcp_client c(root_, {},
               {{"CAGED_MCP_ALLOWED_COMMANDS", "cat"}, {"PATH", root_ + "/bin:.::" + std::string(::getenv("PATH"))}});
  c.initialize();
  put("bin/cat", "#!/bin/sh\nprintf replaced\n");
  std::filesystem::permissions(root_ + "/bin/cat", std::filesystem::perms(0755));
  put("a", "true\n");
  EXPECT_EQ("true\n", c.text("terminal_exec", {{"command", "cat a"}}));
}

TEST_F(mcp_commands, keep_git_from_running_programs) {
  mcp_client c(root_, {"--allowed-commands", "git"});
  c.initialize();
  EXPECT_FALSE(c.call("terminal_exec", {{"command", "git init -q ."}}).value("isError", false));
  failed_with(c.call("file_write", {{"path", ".git/hooks/pre-commit"}, {"content", "#!/bin/sh\ntouch ../ran\n"}}),
              "git's own folder");
  std::filesystem::create_symlink(".git", root_ + "/other");
  failed_with(c.call("file_write", {{"path", "other/config"}, {"content", "[core]"}}), "git's own folder");
  failed_with(c.call("file_edit", {{"path", "other/config"}, {"old_text", "[core]"}, {"new_text", "x"}}),
              "git's own folder");
  failed_with(c.call("file_delete", {{"path", ".git/config"}}), "git's own folder");
  put("a", "x");
  put(".git/hooks/pre-commit", "#!/bin/sh\ntouch ran\n");
  std::filesystem::permissions(root_ + "/.git/hooks/pre-commit", std::filesystem::perms(0755));
  EXPECT_FALSE(c.call("terminal_exec", {{"command", "git add -A"}}).value("isError", false));
  const json commit = c.call("terminal_exec", {{"command", "git commit -qm first --author='A <a@b.c>'"}});
  EXPECT_FALSE(std::filesystem::exists(root_ + "/ran"));
  put(".git/config", "[core]\n[alias]\nst = !touch ran\n[filter \"x\"]\nclean = touch ran\n");
  failed_with(c.call("terminal_exec", {{"command", "git st"}}), "not one of the commands");
  failed_with(c.call("terminal_exec", {{"command", "git status"}}), "\"filter\"");
  EXPECT_FALSE(std::filesystem::exists(root_ + "/ran"));
}

}  // namespace
}  // namespace caged::test
