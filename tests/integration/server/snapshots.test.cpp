// Snapshots through the API: what they keep, what they refuse, and what a crash leaves of them.
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

class Snapshots : public ServerTest {
 protected:
  // They change system files on purpose, for which the trust policy would pause them.
  static void SetUpTestSuite() { start_host("policies: {use: []}\n"); }
  std::string keep(const std::string& id, const std::string& name = "s") {
    const json row = call("POST", "/v1/sandboxes/" + id + "/snapshots", {{"name", name}});
    EXPECT_EQ(row["status"], "completed");
    kept.push_back(row["id"].get<std::string>());
    return kept.back();
  }
  std::string text(const std::string& id, const std::string& command) {
    return exec(id, command)["stdout"].get<std::string>();
  }
  http::client_response upload(const std::string& id, std::string body) {
    http::client_request r;
    r.method = "POST";
    r.target = "/v1/sandboxes/" + id + "/snapshots/upload?name=u";
    r.fields = {{"content-type", "application/gzip"}};
    r.body = std::move(body);
    return raw(std::move(r));
  }
  // A tar made by Python inside a sandbox, as the attacker would: `script` fills the archive `t`.
  std::string hostile(const std::string& id, const std::string& script) {
    const json done =
        exec(id, "cd /tmp && python3 - <<'E'\nimport tarfile, io\nt = tarfile.open('x.tgz', 'w:gz')\n" + script +
                     "\nt.close()\nE\n");
    EXPECT_EQ(done["exit_code"], 0) << done;
    http::client_request r;
    r.target = "/v1/sandboxes/" + id + "/files/content?path=/tmp/x.tgz";
    return raw(std::move(r)).body;
  }
  void TearDown() override {
    for (const auto& one : kept) (void)http.call("DELETE", "/v1/snapshots/" + one);
    ServerTest::TearDown();
  }
  std::vector<std::string> kept;
};

constexpr const char* fill =
    "cd /workspace && echo old > a && ln -s a link && ln a hard && truncate -s 8M holes && printf x >> holes && "
    "chmod 0751 a && mkdir -p d/e && chown 1000:33 d && echo new > /usr/local/made && rm -f /etc/motd /etc/issue && "
    "python3 -c \"import os; os.setxattr('a', 'user.note', b'n')\"";
constexpr const char* look =
    "cd /workspace && stat -c '%n %a %u %g %h %s' a hard holes d d/e && readlink link && cat a /usr/local/made && "
    "[ $(stat -c %b holes) -lt 2000 ] && echo sparse; ls /etc/issue 2>&1; "
    "python3 -c \"import os; print(os.getxattr('/workspace/a', 'user.note'))\"";

TEST_F(Snapshots, UnknownOnesAreRefused) {
  EXPECT_EQ(refused("GET", "/v1/snapshots/snap-none").code, errc::not_found);
  EXPECT_EQ(refused("DELETE", "/v1/snapshots/snap-none").code, errc::not_found);
  EXPECT_EQ(refused("POST", "/v1/snapshots/snap-none/restore").code, errc::not_found);
  EXPECT_EQ(refused("GET", "/v1/snapshots/snap-none/download/content").code, errc::not_found);
  EXPECT_EQ(refused("POST", "/v1/sandboxes/cage-none/fork").code, errc::not_found);
}

TEST_F(Snapshots, RestoringBringsBackEverythingAndEndsWhatRan) {
  const std::string id = make();
  ASSERT_EQ(exec(id, fill)["exit_code"], 0);
  const std::string before = text(id, look);
  const std::string snapshot = keep(id);
  exec(id, "sleep 1000", {{"background", true}});
  exec(id, "rm -rf /workspace/* /usr/local/made; echo other > /workspace/a");
  EXPECT_EQ(call("POST", "/v1/snapshots/" + snapshot + "/restore", json::object())["status"], "restored");
  EXPECT_EQ(text(id, look), before);
  EXPECT_EQ(text(id, "pgrep -c sleep"), "0\n");
  EXPECT_EQ(text(id, "hostname"), id + "\n");
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id)["status"], "running");
}

TEST_F(Snapshots, ForksAreEqualAndApart) {
  const std::string id = make();
  ASSERT_EQ(exec(id, fill)["exit_code"], 0);
  const json many = call("POST", "/v1/sandboxes/" + id + "/fork", {{"count", 3}})["sandboxes"];
  ASSERT_EQ(many.size(), 3u);
  const std::string before = text(id, look);
  for (const auto& one : many) {
    const auto fork = one["id"].get<std::string>();
    made.push_back(fork);
    EXPECT_EQ(one["status"], "running");
    EXPECT_EQ(text(fork, look), before);
    EXPECT_EQ(text(fork, "hostname; touch /workspace/mine /usr/local/mine && ls /workspace/mine"),
              fork + "\n/workspace/mine\n");
    EXPECT_NE(one["session_id"], call("GET", "/v1/sandboxes/" + id)["session_id"]);
  }
  EXPECT_NE(exec(id, "ls /workspace/mine")["exit_code"], 0);
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id + "/snapshots").size(), 0u);
}

TEST_F(Snapshots, AnArchiveGoesOutAndComesBack) {
  const std::string id = make(), other = make();
  ASSERT_EQ(exec(id, fill)["exit_code"], 0);
  const std::string before = text(id, look), snapshot = keep(id);
  const auto url = call("GET", "/v1/snapshots/" + snapshot + "/download")["url"].get<std::string>();
  http::client_request r;
  r.target = url;
  const auto archive = raw(std::move(r));
  ASSERT_EQ(archive.status, 200);
  const auto row = upload(other, archive.body);
  ASSERT_EQ(row.status, 201) << row.body;
  kept.push_back(json::parse(row.body)["id"].get<std::string>());
  call("POST", "/v1/snapshots/" + kept.back() + "/restore", {{"target_sandbox_id", other}});
  EXPECT_EQ(text(other, look), before);
}

TEST_F(Snapshots, HostileArchivesAreRefusedAndLeaveNothing) {
  const std::string id = make();
  const std::string one = "i = tarfile.TarInfo('NAME'); i.size = 1; t.addfile(i, io.BytesIO(b'x'))";
  const auto named = [&](const std::string& name) { return std::string(one).replace(one.find("NAME"), 4, name); };
  const auto special = [](const std::string& name, const std::string& rest) {
    return "i = tarfile.TarInfo('" + name + "'); " + rest + "; t.addfile(i)";
  };
  const std::vector<std::string> attacks{
      named("../out"),
      named("/etc/out"),
      named("workspace/../../out"),
      named("usr/../../../out"),
      special("workspace/dev", "i.type = tarfile.CHRTYPE; i.devmajor = 1; i.devminor = 5"),
      special("workspace/disk", "i.type = tarfile.BLKTYPE; i.devmajor = 8; i.devminor = 0"),
      special("workspace/l", "i.type = tarfile.SYMTYPE; i.linkname = '/etc'") + "\n" + named("workspace/l/out"),
      special("workspace/l", "i.type = tarfile.SYMTYPE; i.linkname = '../../../..'") + "\n" + named("workspace/l/tmp/out"),
      special("workspace/h", "i.type = tarfile.LNKTYPE; i.linkname = '../../../etc/shadow'"),
      special("workspace/h", "i.type = tarfile.LNKTYPE; i.linkname = '/etc/shadow'"),
      special("workspace/s", "i.type = tarfile.SYMTYPE; i.linkname = '/etc/shadow'") + "\n" +
          special("workspace/h", "i.type = tarfile.LNKTYPE; i.linkname = 'workspace/s'"),
      special("usr", "i.type = tarfile.SYMTYPE; i.linkname = '/'"),
      special("workspace", "i.type = tarfile.SYMTYPE; i.linkname = '/'"),
      special("usr/.wh...", "pass"),
  };
  for (const auto& attack : attacks) {
    const auto answer = upload(id, hostile(id, attack));
    EXPECT_EQ(answer.status, 400) << attack << "\n" << answer.body;
  }
  EXPECT_EQ(upload(id, "no archive at all").status, 400);
  EXPECT_EQ(upload(id, "").status, 400);
  const auto whole = hostile(id, named("workspace/a"));
  EXPECT_EQ(upload(id, whole.substr(0, whole.size() / 2)).status, 400);
  EXPECT_EQ(call("GET", "/v1/sandboxes/" + id + "/snapshots").size(), 0u);
}

class SnapshotFaults : public ::testing::Test {
 protected:
  void SetUp() override { data = temporary_folder(); }
  void TearDown() override { fs::remove_all(data); }
  fs::path data;
};

TEST_F(SnapshotFaults, LimitsHoldAndSnapshotsSurviveAKilledServer) {
  const std::string config = "snapshots:\n  per_sandbox: 1\n  each_gb: 0.01\nwake_paused: true\n";
  std::string id, snapshot;
  {
    server first(data, config);
    ASSERT_TRUE(first.healthy()) << first.log();
    auto http = first.client();
    auto box = http.call("POST", "/v1/sandboxes", {{"wait", true}});
    ASSERT_TRUE(box) << describe(box.error());
    id = (*box)["id"].get<std::string>();
    const std::string base = "/v1/sandboxes/" + id;
    ASSERT_TRUE(http.call("POST", base + "/exec", {{"command", "echo kept > /workspace/a"}}));
    auto row = http.call("POST", base + "/snapshots", {{"name", "a"}});
    ASSERT_TRUE(row) << describe(row.error());
    snapshot = (*row)["id"].get<std::string>();
    auto second = http.call("POST", base + "/snapshots", {{"name", "b"}});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, "too_many_snapshots");
    first.end(SIGKILL);
  }
  server again(data, config);
  ASSERT_TRUE(again.healthy()) << again.log();
  auto http = again.client();
  const std::string base = "/v1/sandboxes/" + id;
  ASSERT_TRUE(http.call("POST", base + "/exec", {{"command", "head -c 20M /dev/zero > /workspace/a"}}));
  ASSERT_TRUE(http.call("POST", "/v1/snapshots/" + snapshot + "/restore", json::object()));
  ASSERT_TRUE(http.call("POST", base + "/pause"));
  auto out = http.call("POST", base + "/exec", {{"command", "cat /workspace/a"}});  // wakes it
  ASSERT_TRUE(out) << describe(out.error());
  EXPECT_EQ((*out)["stdout"], "kept\n");
  ASSERT_TRUE(http.call("DELETE", "/v1/snapshots/" + snapshot));
  ASSERT_TRUE(http.call("POST", base + "/exec", {{"command", "head -c 20M /dev/zero > /workspace/a"}}));
  auto large = http.call("POST", base + "/snapshots", {{"name", "c"}});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().reason, "snapshot_too_large");
  ASSERT_TRUE(http.call("DELETE", base));
  EXPECT_TRUE(fs::is_empty(data / "plugins" / "vmm.jail" / "snapshots"));
}

}  // namespace
}  // namespace caged::testing
