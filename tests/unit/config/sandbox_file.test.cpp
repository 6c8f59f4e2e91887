#include <core/config/sandbox_file.hpp>

#include "config_test.hpp"

namespace caged::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::with;

const environment no_variables = with({});

error refused(std::string_view text, const environment& env = no_variables) {
  auto parsed = parse_sandbox_file(text, ".caged.yaml", "/project", env);
  EXPECT_FALSE(parsed.has_value()) << text;
  return parsed ? error{} : parsed.error();
}

sandbox_request read(std::string_view text, const environment& env = no_variables) {
  auto parsed = parse_sandbox_file(text, ".caged.yaml", "/project", env);
  EXPECT_TRUE(parsed.has_value()) << text << "\n" << describe(parsed.error());
  return parsed ? *parsed : sandbox_request{};
}

TEST(SandboxFile, UnknownKeysNameKeyLineAndTheNearestKnownOne) {
  const error e = refused("template: host\n\ntimeuot: 5\n");
  EXPECT_EQ(e.reason, "unknown_key");
  EXPECT_THAT(e.message,
              AllOf(HasSubstr(".caged.yaml:3:"), HasSubstr("'timeuot'"), HasSubstr("did you mean 'timeout'")));
  EXPECT_THAT(refused("resources:\n  cpus: 2\n").message, AllOf(HasSubstr(":2:"), HasSubstr("'resources.cpu'")));
  EXPECT_THAT(refused("repo:\n  url: x\n  brnch: y\n").message, HasSubstr("'repo.branch'"));
  EXPECT_THAT(refused("api_url: http://evil\n").message, HasSubstr("unknown key 'api_url'"));
  EXPECT_THAT(refused("zzzzzzzzzz: 1\n").message, ::testing::Not(HasSubstr("did you mean")));
}

TEST(SandboxFile, WrongTypesNameKeyLineFoundAndExpected) {
  EXPECT_THAT(
      refused("cpus: lots\n").message,
      AllOf(HasSubstr(".caged.yaml:1: cpus"), HasSubstr("found the text 'lots'"), HasSubstr("expected a number")));
  EXPECT_THAT(refused("packages: git\n").message, HasSubstr("expected a list"));
  EXPECT_THAT(refused("packages:\n - git\n - {a: 1}\n").message,
              AllOf(HasSubstr(":3: packages[1]"), HasSubstr("a mapping")));
  EXPECT_THAT(refused("template: [a]\n").message, HasSubstr("found a list, expected text"));
  EXPECT_THAT(refused("env: [A]\n").message, HasSubstr("expected a mapping"));
  EXPECT_THAT(refused("resources: 3\n").message, HasSubstr("resources: found the number 3"));
  EXPECT_THAT(refused("repo: [x]\n").message, HasSubstr("expected a URL, a path or a mapping"));
  EXPECT_THAT(refused("repo: {branch: x}\n").message, HasSubstr("has no 'url'"));
  EXPECT_THAT(refused("- a\n").message, HasSubstr("found a list, expected a mapping"));
  EXPECT_THAT(refused("just text").message, HasSubstr("expected a mapping"));
}

TEST(SandboxFile, WrongAmountsAreRefused) {
  for (const char* text :
       {"cpus: -1\n", "memory: -5\n", "memory: 1.5\n", "memory: lots\n", "disk: 1Q\n", "timeout: -3\n", "timeout: 5x\n",
        "timeout: 1h30\n", "budget: -0.5\n", "budget: .inf\n", "cpus: .nan\n", "network: open\n",
        "network_mode: FULL\n", "memory: 99999999999999999999T\n"}) {
    EXPECT_THAT(refused(text).message, HasSubstr(".caged.yaml:1: ")) << text;
  }
}

TEST(SandboxFile, DuplicateKeysAreRefused) { EXPECT_EQ(refused("env:\n  A: 1\n  A: 2\n").reason, "duplicate_key"); }

TEST(SandboxFile, AnUnsetVariableIsAnErrorThatNamesIt) {
  const error e = refused("env:\n  OK: x\n  TOKEN: pre-${MY_TOKEN}\n");
  EXPECT_EQ(e.reason, "unset_variable");
  EXPECT_THAT(e.message, AllOf(HasSubstr(".caged.yaml:3: env.TOKEN"), HasSubstr("MY_TOKEN")));
  EXPECT_EQ(refused("env: {A: $NOPE}").reason, "unset_variable");
  EXPECT_EQ(refused("env: {A: '${}'}").reason, "malformed_variable");
  EXPECT_EQ(refused("env: {A: '${open'}").reason, "malformed_variable");
  EXPECT_EQ(refused("env: {A: '${1A}'}").reason, "malformed_variable");
  EXPECT_EQ(refused("env: {A: '${A?b}'}").reason, "malformed_variable");
  EXPECT_EQ(refused("repo: {url: x, token_env: NOPE}").reason, "unset_variable");
  EXPECT_EQ(refused("env: {'A B': x}").reason, "invalid_env_name");
  EXPECT_EQ(refused("env: {'A=B': x}").reason, "invalid_env_name");
  EXPECT_EQ(refused("env: {'': x}").reason, "invalid_env_name");
}

TEST(SandboxFile, VariablesExpandOnceAndDollarsEscape) {
  const auto r = read("env:\n  A: ${X}/$X\n  B: $$X ${X:-d} ${NO:-d e} 5$ $5\n  C: $NESTED\n  D:\n  E: 1.50\n",
                      with({{"X", "v"}, {"NESTED", "$X"}}));
  EXPECT_EQ(r.env.at("A"), "v/v");
  EXPECT_EQ(r.env.at("B"), "$X v d e 5$ $5");
  EXPECT_EQ(r.env.at("C"), "$X");
  EXPECT_EQ(r.env.at("D"), "");
  EXPECT_EQ(r.env.at("E"), "1.50");
}

TEST(SandboxFile, BothSpellingsOfResources) {
  for (
      const char* text :
      {"resources: {cpu: 4, memory: 2048, disk: 10}\nnetwork_mode: none\n",
       "cpus: 4\nmemory: 2G\ndisk: 10GB\nnetwork: none\n",
       "resources: {cpu: 0, memory: 0, disk: 0}\ncpus: 4\nmemory: 2048MiB\ndisk: 10\nnetwork_mode: ''\nnetwork: none\n",
       "resources: {cpu: 4, memory: 2g, disk: 10}\ncpus: 1\nmemory: 1\ndisk: 1\nnetwork_mode: none\nnetwork: full\n"}) {
    const auto r = read(text);
    EXPECT_EQ(r.cpus, 4.0) << text;
    EXPECT_EQ(r.memory_mb, 2048) << text;
    EXPECT_EQ(r.disk_gb, 10) << text;
    EXPECT_EQ(r.network_mode, "none") << text;
  }
}

TEST(SandboxFile, RepositoryAsTextAndAsMapping) {
  EXPECT_EQ(read("repo: https://example.org/p.git\n").repo_url, "https://example.org/p.git");
  EXPECT_EQ(read("repo: git@example.org:p.git\n").repo_url, "git@example.org:p.git");
  EXPECT_EQ(read("repo: ./sub\n").repo_url, "/project/sub");
  EXPECT_EQ(read("repo: .\n").repo_url, "/project/");
  const auto r =
      read("repo:\n  url: u\n  token_env: T\n  branch: b\n  commit: c\n  subdirectory: s\n", with({{"T", "secret"}}));
  EXPECT_EQ(r.repo_token, "secret");
  EXPECT_EQ(r.repo_branch, "b");
  EXPECT_EQ(r.repo_commit, "c");
  EXPECT_EQ(r.repo_subdir, "s");
  EXPECT_EQ(read("repo: {token_env: T, token: literal, url: u}", with({{"T", "x"}})).repo_token, "literal");
}

TEST(SandboxFile, EveryKeyReachesTheBody) {
  const auto r = read(
      "name: n\ntemplate: python-312\nresources: {cpu: 0.5, memory: 256, disk: 2}\nnetwork_mode: allowlist\n"
      "allowed_hosts: [a.org, '*.b.org']\nrepo: u\ntimeout: 15m\nbudget: 1.5\ninit_script: |\n  make\nsecrets: [S]\n"
      "env: {A: '1,2=3'}\npackages: [git]\nagents: [aider]\nbackend: jail\npolicies: [p]\nmetadata: {k: v}\n");
  EXPECT_EQ(r.body(),
            json::parse(R"({"name": "n", "template": "python-312", "cpus": 0.5, "memory_mb": 256, "disk_gb": 2,
    "network_mode": "allowlist", "allowlist": ["a.org", "*.b.org"], "repo": "u", "timeout": 900, "budget": 1.5,
    "init_script": "make\n", "secrets": ["S"], "env": {"A": "1,2=3"}, "packages": ["git"], "agents": ["aider"],
    "backend": "jail", "policies": ["p"], "metadata": {"k": "v"}})"));
}

TEST(SandboxFile, AnEmptyFileAsksForNothing) {
  EXPECT_EQ(read("").body(), json::object());
  EXPECT_EQ(read("template: ''\ntimeout: 0\nbudget: 0\nenv:\npackages:\n").body(), json::object());
}

TEST(SandboxFile, LoadsFromItsOwnFolder) {
  const testing::scratch_folder folder;
  const auto file = folder.write("x.yaml", "repo: ./here\n");
  auto loaded = load_sandbox_file(file, no_variables);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->repo_url, (folder.path() / "here").string());
  EXPECT_EQ(load_sandbox_file(folder.path() / "none", no_variables).error().code, errc::not_found);
}

}  // namespace
}  // namespace caged::config
