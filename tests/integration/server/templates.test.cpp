// Templates through the API: built from a folder, lived in, kept from being pulled away, and init scripts run once.
#include <fstream>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

class Templates : public ServerTest {
 protected:
  static void SetUpTestSuite() {
    start_host("policies: {use: []}\n");
    source = temporary_folder();
    // A root file system of a shell, what it loads, and a few tools: made of the machine's own.
    const std::string script =
        "set -e; cd " + source.string() +
        "; mkdir -p etc usr/bin usr/lib tmp root; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib lib64; echo mine "
        "> etc/motd;"
        "for p in sh cat ls mkdir tar sleep; do f=$(command -v $p); cp -L $f usr/bin/$p;"
        " for l in $(ldd $f | grep -o \"/[^ ]*\"); do mkdir -p .$(dirname $l); cp -L $l .$l; done; done";
    ASSERT_EQ(::system(("sh -c '" + script + "' 2>/dev/null").c_str()), 0);
  }
  static void TearDownTestSuite() {
    ServerTest::TearDownTestSuite();
    fs::remove_all(source);
  }
  json build(const std::string& name) {
    call("POST", "/v1/templates", {{"name", name}, {"recipe", {{"from", "folder"}, {"path", source.string()}}}});
    json row;
    EXPECT_TRUE(eventually(
        [&] {
          row = call("GET", "/v1/templates/" + name);
          return !row.contains("build") || row["build"]["status"] != "building";
        },
        std::chrono::seconds(60)));
    EXPECT_EQ(row["status"], "ready") << row;
    return row;
  }
  static fs::path data_folder() {
    std::ifstream in("/proc/" + std::to_string(host->pid()) + "/cmdline");
    std::string word;
    while (word != "--data" && std::getline(in, word, '\0')) {
    }
    std::getline(in, word, '\0');
    return word;
  }
  static fs::path source;
};
fs::path Templates::source;

TEST_F(Templates, ASandboxLivesInWhatWasBuiltAndKeepsIt) {
  const json row = build("mine");
  EXPECT_EQ(row["digest"].get<std::string>().rfind("sha256-", 0), 0u);
  const std::string id = make({{"template", "mine"}});
  EXPECT_EQ(exec(id, "cat /etc/motd; ls /usr/bin; cat /etc/hostname")["stdout"],
            "mine\ncat\nls\nmkdir\nsh\nsleep\ntar\n" + id + "\n");
  EXPECT_EQ(exec(id, "echo changed > /etc/motd && echo new > /usr/bin/own && cat /etc/motd")["stdout"], "changed\n");
  EXPECT_EQ(refused("DELETE", "/v1/templates/mine").reason, "template_in_use");
  // What one sandbox writes stays its own.
  EXPECT_EQ(exec(make({{"template", "mine"}}), "cat /etc/motd; ls /usr/bin/own 2>/dev/null")["stdout"], "mine\n");
  EXPECT_EQ(build("mine")["digest"], row["digest"]);
  EXPECT_EQ(call("GET", "/v1/templates/mine?verify=true")["verified"], true);
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"template", "mine"}, {"packages", {"curl"}}}).reason,
            "software_missing");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"template", "absent"}}).reason, "unknown_template");
}

TEST_F(Templates, AnInitScriptRunsOnceForTheSameFiles) {
  build("mine");
  // A number that no two runs have in common.
  const json body{{"template", "mine"},
                  {"init_script", "cat /proc/sys/kernel/random/uuid > /workspace/run; mkdir -p /opt/made"},
                  {"wait", true}};
  const auto run_of = [this](const std::string& id) {
    return exec(id, "cat /workspace/run; ls -d /opt/made")["stdout"];
  };
  const json first = run_of(make(body)), second = run_of(make(body));
  EXPECT_EQ(first.get<std::string>().size(), std::string("01234567-0123-0123-0123-012345678901\n/opt/made\n").size());
  EXPECT_EQ(first, second);
  json left_running = body;
  left_running["init_script"] = body["init_script"].get<std::string>() + "; sleep 60 >/dev/null 2>&1 &";
  EXPECT_NE(run_of(make(left_running)), run_of(make(left_running)));
  json other = body;
  other["init_script"] = "echo twice >> /workspace/log";
  EXPECT_EQ(exec(make(other), "cat /workspace/log")["stdout"], "twice\n");
}

TEST_F(Templates, OnlyAKeyOfScopeFullHasATemplateBuilt) {
  const json fresh = call("POST", "/v1/account/keys", {{"name", "builder"}, {"scope", "sandbox"}});
  auto agent = host->client(fresh["key"].get<std::string>());
  EXPECT_EQ(agent.call("POST", "/v1/sandboxes", {{"template", "go"}, {"wait", true}}).error().reason,
            "template_not_built");
  build("shared");
  auto given = agent.call("POST", "/v1/sandboxes", {{"template", "shared"}, {"wait", true}});
  ASSERT_TRUE(given) << given.error().message;
  call("DELETE", "/v1/sandboxes/" + (*given)["id"].get<std::string>());
  call("DELETE", "/v1/account/keys/" + fresh["info"]["id"].get<std::string>());
}

TEST_F(Templates, FilesThatAreGoneRefuseTheNextSandboxAndHarmNoneThatLives) {
  build("gone");
  const std::string id = make({{"template", "gone"}});
  const json row = call("GET", "/v1/templates/gone");
  const fs::path root = data_folder() / "templates/store" / row["digest"].get<std::string>();
  fs::rename(root, root.string() + ".away");
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"template", "gone"}, {"wait", true}}).reason, "template_missing");
  EXPECT_EQ(exec(id, "echo alive")["stdout"], "alive\n");
  fs::rename(root.string() + ".away", root);
  std::ofstream(root / "root/etc/motd") << "evil\n";
  EXPECT_EQ(refused("POST", "/v1/sandboxes", {{"template", "gone"}, {"wait", true}}).reason, "template_tampered");
  EXPECT_EQ(refused("GET", "/v1/templates/gone?verify=true").reason, "template_tampered");
  call("POST", "/v1/templates", {{"name", "gone"}, {"fresh", true}});
  EXPECT_TRUE(
      eventually([&] { return !call("GET", "/v1/templates/gone").contains("build"); }, std::chrono::seconds(60)));
  EXPECT_EQ(exec(make({{"template", "gone"}}), "cat /etc/motd")["stdout"], "mine\n");
}

}  // namespace
}  // namespace caged::testing
