// What goes wrong around a server: killed, crowded, damaged, out of disk.
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

class Faults : public ::testing::Test {
 protected:
  void SetUp() override { data = temporary_folder(); }
  void TearDown() override {
    // A last server sweeps whatever a test left running.
    if (fs::exists(data / "admin.key") && !damaged) {
      server last(data);
      if (last.healthy()) {
        auto http = last.client();
        if (auto rows = http.call("GET", "/v1/sandboxes"))
          for (const auto& row : *rows) (void)http.call("DELETE", "/v1/sandboxes/" + row["id"].get<std::string>());
      }
    }
    fs::remove_all(data);
  }
  static std::string make(http::client& http, json body = json::object()) {
    body["wait"] = true;
    auto box = http.call("POST", "/v1/sandboxes", body);
    EXPECT_TRUE(box) << (box ? "" : describe(box.error()));
    return box ? (*box)["id"].get<std::string>() : "";
  }
  // Processes of boxes of this data folder that still run.
  int processes_of(const std::string& id) {
    int count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::ifstream in(entry.path() / "environ");
      const std::string env{std::istreambuf_iterator<char>(in), {}};
      count += env.find("CAGED_SANDBOX_ID=" + id) != std::string::npos;
    }
    return count;
  }
  fs::path data;
  bool damaged = false;
};

TEST_F(Faults, AfterSigkillBoxesAreAdoptedWithTheirProcesses) {
  std::string id, session, process;
  {
    server first(data);
    ASSERT_TRUE(first.healthy()) << first.log();
    auto http = first.client();
    id = make(http);
    auto started =
        http.call("POST", "/v1/sandboxes/" + id + "/exec",
                  {{"command", "while :; do date +%s%N >> /workspace/ticks; sleep 0.05; done"}, {"background", true}});
    ASSERT_TRUE(started);
    process = (*started)["process_id"].get<std::string>();
    ASSERT_TRUE(
        http.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "echo acknowledged > /workspace/proof"}}));
    session = (*http.call("GET", "/v1/sandboxes/" + id))["session_id"].get<std::string>();
    first.end(SIGKILL);
  }
  server second(data);
  ASSERT_TRUE(second.healthy()) << second.log();
  auto http = second.client();
  EXPECT_EQ((*http.call("GET", "/v1/sandboxes/" + id))["status"], "running");
  auto read = http.call(
      "POST", "/v1/sandboxes/" + id + "/exec",
      {{"command", "cat proof; a=$(wc -l < ticks); sleep 0.5; b=$(wc -l < ticks); test $b -gt $a && echo ticking"}});
  ASSERT_TRUE(read) << describe(read.error());
  EXPECT_EQ((*read)["stdout"], "acknowledged\nticking\n");
  EXPECT_EQ((*http.call("GET", "/v1/sandboxes/" + id + "/processes/" + process))["running"], true);
  EXPECT_EQ((*http.call("GET", "/v1/sessions/" + session + "/verify"))["intact"], true);
  ASSERT_TRUE(http.call("DELETE", "/v1/sandboxes/" + id));
  EXPECT_EQ(processes_of(id), 0);
}

TEST_F(Faults, KilledWhileSettingUpLeavesNothingBehind) {
  std::string id;
  {
    server first(data);
    auto http = first.client();
    auto box = http.call("POST", "/v1/sandboxes", {{"init_script", "sleep 100"}});
    ASSERT_TRUE(box);
    id = (*box)["id"].get<std::string>();
    first.end(SIGKILL);
  }
  server second(data);
  ASSERT_TRUE(second.healthy()) << second.log();
  auto http = second.client();
  const json box = *http.call("GET", "/v1/sandboxes/" + id);
  EXPECT_EQ(box["status"], "error");
  EXPECT_EQ(box["ended_reason"], "setup_interrupted");
  EXPECT_TRUE(eventually([&] { return processes_of(id) == 0; }));
}

TEST_F(Faults, KilledUnderLoadLosesNothingThatWasAcknowledged) {
  std::vector<std::string> alive;
  {
    server first(data);
    std::vector<std::thread> clients;
    std::mutex mutex;
    std::atomic<bool> stop = false;
    for (int i = 0; i < 3; ++i)
      clients.emplace_back([&] {
        auto http = first.client();
        while (!stop) {
          auto box = http.call("POST", "/v1/sandboxes", {{"wait", true}});
          if (!box) break;
          std::lock_guard lock(mutex);
          alive.push_back((*box)["id"].get<std::string>());
        }
      });
    std::this_thread::sleep_for(std::chrono::seconds(1));
    first.end(SIGKILL);
    stop = true;
    for (auto& c : clients) c.join();
  }
  ASSERT_FALSE(alive.empty());
  server second(data);
  ASSERT_TRUE(second.healthy()) << second.log();
  auto http = second.client();
  for (const auto& id : alive) {
    auto box = http.call("GET", "/v1/sandboxes/" + id);
    ASSERT_TRUE(box) << id << " was acknowledged and is lost";
    EXPECT_EQ((*box)["status"], "running") << box->dump();
  }
  for (const auto& row : *http.call("GET", "/v1/sandboxes"))
    ASSERT_TRUE(http.call("DELETE", "/v1/sandboxes/" + row["id"].get<std::string>()));
  for (const auto& id : alive) EXPECT_EQ(processes_of(id), 0);
}

TEST_F(Faults, SigtermLetsARunningCommandFinish) {
  server host(data);
  ASSERT_TRUE(host.healthy()) << host.log();
  auto http = host.client();
  const std::string id = make(http);
  std::string output;
  std::thread busy([&] {
    auto other = host.client();
    auto done = other.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "sleep 1; echo finished"}});
    output = done ? (*done)["stdout"].get<std::string>() : describe(done.error());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const int status = host.end(SIGTERM);
  busy.join();
  EXPECT_EQ(output, "finished\n");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << host.log();
}

TEST_F(Faults, ASecondServerOnTheSameFolderRefuses) {
  server first(data);
  ASSERT_TRUE(first.healthy());
  const std::string program = std::string(CAGED_BUILD_DIR) + "/bin/caged";
  const fs::path log = data / "second.log";
  const int status = system(
      (program + " serve --listen 127.0.0.1:0 --data " + data.string() + " > " + log.string() + " 2>&1").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  std::ifstream in(log);
  const std::string said{std::istreambuf_iterator<char>(in), {}};
  EXPECT_NE(said.find("data_folder_in_use"), std::string::npos) << said;
  EXPECT_NE(said.find(std::to_string(first.pid())), std::string::npos) << said;
}

TEST_F(Faults, ADamagedDatabaseIsRefusedByName) {
  {
    server first(data);
    ASSERT_TRUE(first.healthy());
  }
  fs::path database;
  for (const auto& entry : fs::recursive_directory_iterator(data))
    if (entry.path().extension() == ".db" || entry.path().extension() == ".sqlite") database = entry.path();
  ASSERT_FALSE(database.empty());
  { std::fstream(database, std::ios::in | std::ios::out | std::ios::binary) << "this is no database"; }
  damaged = true;
  server second(data);
  EXPECT_FALSE(second.healthy());
  EXPECT_EQ(second.wait_exit(), 1);
  EXPECT_NE(second.log().find(database.string()), std::string::npos) << second.log();
}

TEST_F(Faults, AFullDiskIsTypedAndWorksAgainAfterwards) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: a small file system is mounted";
  const fs::path small = data / "small";
  fs::create_directory(small);
  ASSERT_EQ(mount("tmpfs", small.c_str(), "tmpfs", 0, "size=24m"), 0);
  {
    server host(small);
    EXPECT_TRUE(host.healthy()) << host.log();
    auto http = host.client();
    const std::string id = make(http);
    // What is left of the disk goes to one file of the host's.
    {
      std::ofstream fill(small / "fill");
      for (int i = 0; i < 30 && fill; ++i) fill << std::string(1 << 20, 'x') << std::flush;
    }
    bool refused = false;
    for (int i = 0; i < 200 && !refused; ++i) {
      auto made = http.call("POST", "/v1/account/keys", {{"name", std::string(90, 'k')}});
      if (!made) {
        EXPECT_EQ(made.error().code, errc::insufficient_storage) << describe(made.error());
        refused = true;
      }
    }
    EXPECT_TRUE(refused);
    fs::remove(small / "fill");
    EXPECT_TRUE(eventually([&] { return bool(http.call("POST", "/v1/account/keys", {{"name", "after"}})); }));
    EXPECT_TRUE(http.call("DELETE", "/v1/sandboxes/" + id));
  }
  EXPECT_EQ(umount2(small.c_str(), MNT_DETACH), 0);
}

TEST_F(Faults, AVanishedOrSlowClientHoldsNothing) {
  server host(data);
  auto http = host.client();
  const std::string id = make(http);
  for (int i = 0; i < 20; ++i) {
    auto gone = host.client();
    http::client_request r;
    r.method = "POST";
    r.target = "/v1/sandboxes/" + id + "/exec/stream";
    r.fields = {{"content-type", "application/json"}};
    r.body = json{{"command", "yes"}, {"timeout", 2}}.dump();
    auto stream = gone.events(r);
    ASSERT_TRUE(stream) << describe(stream.error());
    (void)stream->next();
  }  // each leaves in the middle
  EXPECT_TRUE(http.call("GET", "/v1/sandboxes/" + id));
  EXPECT_TRUE(eventually(
      [&] {
        return http.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "pgrep -x yes"}})
                   ->value("exit_code", 0) == 1;
      },
      std::chrono::seconds(15)));
}

TEST_F(Faults, ALostBoxIsTypedAndNeverExitZero) {
  server host(data);
  auto http = host.client();
  const std::string id = make(http);
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    // From the host: the box's first process, found by its environment's owner, dies.
    for (const auto& row : fs::directory_iterator("/proc")) {
      std::ifstream status(row.path() / "status");
      std::string line, name;
      bool first = false;
      while (std::getline(status, line)) {
        if (line.starts_with("Name:")) name = line;
        if (line.starts_with("NSpid:")) first = line.ends_with("\t1");
      }
      if (first && name.find("caged-agent") != std::string::npos) {
        std::ifstream host_name(row.path() / "root/etc/hostname");
        std::string box;
        std::getline(host_name, box);
        if (box == id) kill(std::stoi(row.path().filename()), SIGKILL);
      }
    }
  });
  const auto start = std::chrono::steady_clock::now();
  auto done = http.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "sleep 30"}});
  killer.join();
  ASSERT_FALSE(done) << done->dump();
  EXPECT_EQ(done.error().code, errc::unavailable) << describe(done.error());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(eventually([&] { return (*http.call("GET", "/v1/sandboxes/" + id))["status"] == "error"; }));
  EXPECT_EQ(processes_of(id), 0);
}

TEST_F(Faults, AWrongPluginSettingStopsTheStartAndNamesThePath) {
  server host(data, "plugins:\n  vmm:\n    jail:\n      no_such_setting: 1\n");
  EXPECT_FALSE(host.healthy());
  EXPECT_EQ(host.wait_exit(), 1);
  EXPECT_NE(host.log().find("no_such_setting"), std::string::npos) << host.log();
}

}  // namespace
}  // namespace caged::testing
