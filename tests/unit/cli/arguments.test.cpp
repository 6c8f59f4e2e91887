#include <core/cli/arguments.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <core/cli/commands.hpp>
#include <core/cli/connect.hpp>
#include <core/cli/exec_session.hpp>

namespace caged::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const config::environment variables = [](std::string_view name) -> std::optional<std::string> {
  if (name == "MINE") return "a,b=c";
  return std::nullopt;
};

// What the flags of `up` come to, or the message of the refusal.
struct outcome {
  json body;
  std::string failure;
};

outcome flags(std::vector<std::string> words) {
  CLI::App app;
  resource_flags given;
  std::string id;
  add_resource_flags(app, given);
  app.add_option("ID", id);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& e) {
    return {nullptr, e.what()};
  }
  auto request = to_request(given, variables);
  if (!request) return {nullptr, request.error().message};
  if (auto ok = request->settle(); !ok) return {nullptr, ok.error().message};
  json body = request->body();
  if (!id.empty()) body["positional"] = id;
  return {body, ""};
}

TEST(Arguments, WrongValuesNameTheFlag) {
  EXPECT_THAT(flags({"--cpus", "lots"}).failure, HasSubstr("--cpus"));
  EXPECT_THAT(flags({"--memory", "-1"}).failure, HasSubstr("--memory"));
  EXPECT_THAT(flags({"--network", "open"}).failure, HasSubstr("expected full, allowlist, learn or none"));
  EXPECT_THAT(flags({"--timeout", "5x"}).failure, HasSubstr("--timeout"));
  EXPECT_THAT(flags({"--budget", "free"}).failure, HasSubstr("--budget"));
  EXPECT_THAT(flags({"--env", "=x"}).failure, HasSubstr("--env"));
  EXPECT_THAT(flags({"--env", "A B=x"}).failure, HasSubstr("A B"));
  EXPECT_THAT(flags({"--env", "NOT_SET"}).failure, HasSubstr("NOT_SET"));
  EXPECT_THAT(flags({"--network", "none", "--allowlist", "a.org"}).failure, HasSubstr("none"));
  EXPECT_THAT(flags({"--repo-branch", "b"}).failure, HasSubstr("no repository"));
}

TEST(Arguments, EnvIsNeverSplitAndNeverEatsTheNextWord) {
  const json body =
      flags({"--env", "A=1,2", "--env", "B=x=y,z", "--env", "MINE", "-e", "D=[p,q]", "--env", "E=", "box"}).body;
  EXPECT_EQ(body,
            json::parse(
                R"({"env": {"A": "1,2", "B": "x=y,z", "MINE": "a,b=c", "D": "[p,q]", "E": ""}, "positional": "box"})"));
}

TEST(Arguments, ListsSplitAtCommasAndRepeat) {
  EXPECT_EQ(flags({"--allowlist", "a.org,*.b.org", "--allowlist", "c.org"}).body,
            json::parse(R"({"network_mode": "allowlist", "allowlist": ["a.org", "*.b.org", "c.org"]})"));
  EXPECT_EQ(flags({"--packages", "git,vim"}).body, json::parse(R"({"packages": ["git", "vim"]})"));
}

TEST(Arguments, EveryFlagReachesTheBody) {
  EXPECT_EQ(flags({"--name",        "n",
                   "--template",    "host",
                   "--cpus",        "0.5",
                   "--memory",      "2G",
                   "--disk",        "10",
                   "--network",     "full",
                   "--repo",        "https://example.org/p",
                   "--repo-token",  "t",
                   "--repo-branch", "b",
                   "--repo-commit", "c",
                   "--repo-subdir", "s",
                   "--init-script", "make",
                   "--budget",      "2.5",
                   "--timeout",     "15m",
                   "--agents",      "a",
                   "--secrets",     "S",
                   "--policies",    "p",
                   "--backend",     "jail"})
                .body,
            json::parse(R"({"name": "n", "template": "host", "cpus": 0.5, "memory_mb": 2048, "disk_gb": 10,
              "network_mode": "full", "repo": "https://example.org/p", "repo_token": "t", "repo_branch": "b",
              "repo_commit": "c", "repo_subdir": "s", "init_script": "make", "budget": 2.5, "timeout": 900,
              "agents": ["a"], "secrets": ["S"], "policies": ["p"], "backend": "jail"})"));
}

TEST(Arguments, ALocalRepositoryBecomesAbsolute) {
  EXPECT_EQ(resolve_repo("."), std::filesystem::canonical(".").string());
  EXPECT_EQ(resolve_repo("https://example.org/p"), "https://example.org/p");
  EXPECT_EQ(resolve_repo("git@example.org:p"), "git@example.org:p");
  EXPECT_EQ(resolve_repo("/no/such/folder"), "/no/such/folder");
}

TEST(Arguments, TheTailAfterDashesStaysWordForWord) {
  const char* argv[] = {"caged", "run", "--cpus", "2", "--", "sh", "-c", "--", "a b", ""};
  const auto split = split_at_dashes(10, argv);
  EXPECT_THAT(split.own, ElementsAre("run", "--cpus", "2"));
  EXPECT_THAT(split.tail, ElementsAre("sh", "-c", "--", "a b", ""));
  EXPECT_THAT(join_command({}, split), ElementsAre("sh", "-c", "--", "a b", ""));
  EXPECT_THAT(join_command({"sh"}, split), ElementsAre("sh", "--", "sh", "-c", "--", "a b", ""));
}

TEST(Arguments, OneWordIsShellTextSeveralAreRunAsTheyAre) {
  EXPECT_EQ(command_input({"a | b"}), json::parse(R"({"command": "a | b"})"));
  EXPECT_EQ(command_input({"a", "| b"}), json::parse(R"({"argv": ["a", "| b"]})"));
}

TEST(Arguments, CopyPlaces) {
  const auto place = [](const char* text) {
    const auto p = parse_copy_place(text);
    return p.sandbox + " " + p.path;
  };
  EXPECT_EQ(place("cage_1:/x"), "cage_1 /x");
  EXPECT_EQ(place("cage_1:x:y"), "cage_1 x:y");
  EXPECT_EQ(place("cage_1:"), "cage_1 ");
  EXPECT_EQ(place("./a:b"), " ./a:b");
  EXPECT_EQ(place("/a:b"), " /a:b");
  EXPECT_EQ(place("d/a:b"), " d/a:b");
  EXPECT_EQ(place("plain"), " plain");
  EXPECT_EQ(place(":x"), " :x");
  EXPECT_EQ(place(""), " ");
}

TEST(Arguments, ExitCodesMirrorTheCommand) {
  const auto code = [](const char* frame) { return exit_code_of(json::parse(frame)); };
  EXPECT_EQ(code(R"({"exit_code": 0})"), 0);
  EXPECT_EQ(code(R"({"exit_code": 7, "signal": null})"), 7);
  EXPECT_EQ(code(R"({"exit_code": null, "signal": "SIGKILL"})"), 137);
  EXPECT_EQ(code(R"({"exit_code": null, "signal": "TERM"})"), 143);
  EXPECT_EQ(code(R"({"exit_code": null, "signal": 11})"), 139);
  EXPECT_EQ(code(R"({"exit_code": null, "signal": "SIGKILL", "timed_out": true})"), 124);
  EXPECT_EQ(code(R"({"exit_code": null})"), 125) << "no code is ever made up";
  EXPECT_EQ(code(R"({"exit_code": 300})"), 125);
  EXPECT_EQ(code(R"([])"), 125);
}

TEST(Arguments, Signals) {
  EXPECT_EQ(signal_number("SIGINT"), 2);
  EXPECT_EQ(signal_number("KILL"), 9);
  EXPECT_EQ(signal_number("15"), 15);
  for (const char* none : {"", "0", "-1", "999", "SIGNOPE", "int", "9x"}) EXPECT_EQ(signal_number(none), 0) << none;
  EXPECT_EQ(signal_name(1), "SIGHUP");
  EXPECT_EQ(signal_name(0), "");
}

TEST(Arguments, TheDetachKey) {
  EXPECT_EQ(split_at_detach("abc").end, typed::key::none);
  const auto parts = split_at_detach("ab\x1d rest");
  EXPECT_EQ(parts.bytes, "ab");
  EXPECT_EQ(parts.end, typed::key::detach);
}

// The whole command line, to see which command is chosen and what is refused.
int exit_of(std::vector<std::string> words, std::string* printed = nullptr) {
  words.insert(words.begin(), "caged");
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  ::testing::internal::CaptureStderr();
  const int code = run(static_cast<int>(words.size()), argv.data(), {});
  const std::string text = ::testing::internal::GetCapturedStderr();
  if (printed != nullptr) *printed = text;
  return code;
}

TEST(CommandLine, BadUsageIsTwoOrOneHundredTwentyFive) {
  std::string text;
  EXPECT_EQ(exit_of({"lst"}, &text), 2);
  EXPECT_THAT(text, HasSubstr("did you mean 'list'"));
  EXPECT_EQ(exit_of({"keys", "creat"}, &text), 2);
  EXPECT_THAT(text, HasSubstr("'create'"));
  EXPECT_EQ(exit_of({"ls", "--nope"}), 2);
  EXPECT_EQ(exit_of({"ls", "--format", "xml"}), 2);
  EXPECT_EQ(exit_of({"run", "--nope"}), 125);
  EXPECT_EQ(exit_of({"exec"}), 125);
  EXPECT_EQ(exit_of({"run"}, &text), 125);
  EXPECT_THAT(text, HasSubstr("no command"));
  EXPECT_EQ(exit_of({"sandboxes", "exec"}), 125);
}

TEST(CommandLine, ServeHandsOverItsFlags) {
  std::optional<serve_options> seen;
  const char* words[] = {"caged",   "serve",       "--listen", "127.0.0.1:0",  "--data",
                         "/d/../e", "--log-level", "debug",    "--plugin-dir", "/p"};
  std::vector<char*> argv;
  for (const char* w : words) argv.push_back(const_cast<char*>(w));
  host_functions host;
  host.serve = [&seen](const serve_options& o) {
    seen = o;
    return 17;
  };
  const int code = run(static_cast<int>(argv.size()), argv.data(), host);
  EXPECT_EQ(code, 17);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->host.listen, "127.0.0.1:0");
  EXPECT_EQ(seen->host.data, "/e");
  EXPECT_EQ(seen->host.log_level, "debug");
  EXPECT_THAT(seen->host.plugin_dirs, ElementsAre("/p"));
  std::string text;
  EXPECT_EQ(exit_of({"serve", "--listen", "8080"}, &text), 1);
  EXPECT_THAT(text, HasSubstr("ADDR:PORT"));
}

TEST(CommandLine, CompletionKnowsEveryCommand) {
  global_flags flags_used;
  chosen_command chosen;
  const split_arguments split;
  const host_functions host;
  CLI::App root("", "caged");
  declare_commands(root, {flags_used, chosen, split, host.serve, host.policy_tool});
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const auto script = completion_script(root, shell);
    ASSERT_TRUE(script.has_value());
    for (const char* word : {"connect", "keys", "revoke", "summary-json", "sandboxes"})
      EXPECT_THAT(*script, HasSubstr(word));
  }
  EXPECT_EQ(completion_script(root, "tcsh").error().reason, "unknown_shell");
}

}  // namespace
}  // namespace caged::cli
