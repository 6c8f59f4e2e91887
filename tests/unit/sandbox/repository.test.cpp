#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "core/runtime/subprocess.hpp"
#include "core/sandbox/repository.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;

class Repository : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/caged-repo-XXXXXX";
    root_ = mkdtemp(name);
    source_ = root_ / "source";
    shell("git init -q -b main " + source_.string() + " && cd " + source_.string() +
          " && git config user.email t@example.org && git config user.name t && mkdir sub && echo one > a.txt && echo "
          "s > sub/s.txt"
          " && ln -s / out && git add -A && git commit -qm one && git branch other && echo two > a.txt && git commit "
          "-qam two"
          " && git checkout -q other && echo three > a.txt && git commit -qam three && git checkout -q main");
  }
  void TearDown() override { fs::remove_all(root_); }
  void shell(const std::string& text) {
    runtime::program p;
    p.argv = {"sh", "-c", text};
    p.env = {{"HOME", root_.string()}};
    auto done = runtime::run_program(p);
    ASSERT_TRUE(done);
    ASSERT_EQ(done->exit_code, 0) << done->errors;
  }
  fetch_request want() {
    fetch_request w;
    w.repo.url = source_.string();
    w.staging = root_ / "staging";
    return w;
  }
  static std::string read(const fs::path& p) {
    std::ifstream in(p);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  fs::path root_, source_;
};

TEST_F(Repository, APathIsTakenAsItIsWithUncommittedWork) {
  std::ofstream(source_ / "new.txt") << "uncommitted";
  auto got = fetch_to_host(want());
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(got->folder, fs::canonical(source_));
}

TEST_F(Repository, ABranchIsCloned) {
  auto w = want();
  w.repo.branch = "other";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(read(got->folder / "a.txt"), "three\n");
  EXPECT_EQ(got->commit.size(), 40u);
}

TEST_F(Repository, ACommitIsCheckedOut) {
  auto w = want();
  w.repo.commit = "main~1";
  // "~" is no part of a plain name and is refused before it comes here; the hash works.
  runtime::program p;
  p.argv = {"git", "-C", source_.string(), "rev-parse", "main~1"};
  p.env = {{"HOME", root_.string()},
           {"GIT_CONFIG_COUNT", "1"},
           {"GIT_CONFIG_KEY_0", "safe.directory"},
           {"GIT_CONFIG_VALUE_0", "*"}};
  w.repo.commit = runtime::run_program(p)->output.substr(0, 40);
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(read(got->folder / "a.txt"), "one\n");
  EXPECT_EQ(got->commit, w.repo.commit);
}

TEST_F(Repository, ASubdirectoryStaysInside) {
  auto w = want();
  w.repo.subdirectory = "sub";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got);
  EXPECT_EQ(read(got->folder / "s.txt"), "s\n");
  w.repo.subdirectory = "out/etc";  // through a link that leads to the host's root
  auto bad = fetch_to_host(w);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().path, "/repo_subdir");
}

TEST_F(Repository, HooksAndFiltersOfTheSourceDoNotRun) {
  const fs::path proof = root_ / "proof";
  shell("cd " + source_.string() + " && printf '#!/bin/sh\\ntouch " + proof.string() +
        "\\n' > .git/hooks/post-checkout && chmod +x .git/hooks/post-checkout"
        " && git config core.fsmonitor 'touch " +
        proof.string() + "' && git config filter.x.smudge 'touch " + proof.string() +
        "' && echo '* filter=x' > .gitattributes"
        " && git -c core.fsmonitor=false add .gitattributes && git -c core.fsmonitor=false commit -qm attributes; rm "
        "-f " +
        proof.string());
  auto w = want();
  w.repo.branch = "main";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_FALSE(fs::exists(proof));
}

TEST_F(Repository, RefusalsNameThePlace) {
  auto w = want();
  w.repo.url = (root_ / "missing").string();
  auto missing = fetch_to_host(w);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, "repo_not_found");
  w = want();
  w.repo.branch = "nosuch";
  auto branch = fetch_to_host(w);
  ASSERT_FALSE(branch);
  EXPECT_NE(branch.error().message.find("nosuch"), std::string::npos);
  w = want();
  w.roots = {root_ / "elsewhere"};
  auto outside = fetch_to_host(w);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().reason, "repo_outside_roots");
}

TEST_F(Repository, ATokenIsNeverInAnError) {
  auto w = want();
  w.repo.url = "http://127.0.0.1:9/x.git";
  w.token = "sekret-token-value";
  auto got = fetch_to_host(w);
  ASSERT_FALSE(got);
  EXPECT_EQ(describe(got.error()).find("sekret"), std::string::npos);
}

// A real git server; ends with the object.
class git_server {
 public:
  explicit git_server(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"python3", CAGED_SOURCE_DIR "/tests/unit/sandbox/git_http_server.py"});
    int in[2], out[2];
    EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      std::vector<char*> argv;
      for (auto& a : arguments) argv.push_back(a.data());
      argv.push_back(nullptr);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    stop_ = in[1];
    for (char c; read(out[0], &c, 1) == 1 && c != '\n';) port_ += c;
    close(out[0]);
    EXPECT_FALSE(port_.empty()) << "the git server did not start";
  }
  ~git_server() {
    close(stop_);
    waitpid(pid_, nullptr, 0);
  }
  std::string url(const std::string& host = "127.0.0.1") const { return "http://" + host + ":" + port_; }

 private:
  pid_t pid_ = -1;
  int stop_ = -1;
  std::string port_;
};

TEST_F(Repository, AUrlIsClonedWithItsBranchAndCommit) {
  git_server server({root_.string()});
  auto w = want();
  w.repo.url = server.url() + "/source/.git";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(read(got->folder / "a.txt"), "two\n");
  EXPECT_EQ(got->commit.size(), 40u);
  const std::string tip = got->commit;
  w.repo.branch = "other";
  got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(read(got->folder / "a.txt"), "three\n");
  w.repo.branch.clear();
  w.repo.commit = tip;
  w.repo.subdirectory = "sub";
  got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(got->commit, tip);
  EXPECT_EQ(read(got->folder / "s.txt"), "s\n");
}

TEST_F(Repository, APrivateRepositoryNeedsItsToken) {
  git_server server({root_.string(), "--token", "right-token"});
  auto w = want();
  w.repo.url = server.url() + "/source/.git";
  EXPECT_FALSE(fetch_to_host(w));
  w.token = "wrong-token";
  auto refused = fetch_to_host(w);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "repository_failed");
  EXPECT_EQ(describe(refused.error()).find("wrong-token"), std::string::npos);
  w.token = "right-token";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  EXPECT_EQ(read(got->folder / "a.txt"), "two\n");
}

TEST_F(Repository, ARedirectElsewhereDoesNotGetTheToken) {
  git_server target({root_.string()});
  const fs::path first = root_ / "first";
  fs::create_directories(first);
  git_server server({first.string(), "--redirect-to", target.url("localhost")});
  auto w = want();
  w.repo.url = server.url() + "/source/.git";
  auto got = fetch_to_host(w);
  ASSERT_TRUE(got) << describe(got.error());
  w.token = "right-token";
  EXPECT_FALSE(fetch_to_host(w));
  EXPECT_NE(read(first / "requests.log").find("Basic "), std::string::npos);
  EXPECT_EQ(read(root_ / "requests.log").find("Basic "), std::string::npos);
}

TEST_F(Repository, AServerThatHangsIsGivenUp) {
  git_server server({root_.string(), "--hang"});
  auto w = want();
  w.repo.url = server.url() + "/source/.git";
  w.limit = std::chrono::seconds(2);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(fetch_to_host(w));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace caged::sandbox
