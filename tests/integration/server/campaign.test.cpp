// Server, witness and agents are killed at random moments under load: what was answered stays true.
#include <signal.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "tests/integration/server/fixture.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

struct answered {
  std::string sandbox, marker;
};

pid_t agent_of(const fs::path& data, const std::string& id) {
  std::ifstream in(data / "plugins/vmm.jail/boxes" / id / "box.json");
  const json record = json::parse(in, nullptr, false);
  return record.is_object() ? record["process"].value("pid", 0) : 0;
}

// The process that shares the witness's memory with the host, and is not the host.
pid_t witness_of(const fs::path& data) {
  const std::string shared = (fs::canonical(data) / "plugins/vmm.jail/witness.memory").string();
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    std::ifstream name(entry.path() / "comm");
    std::string text;
    if (pid <= 1 || !std::getline(name, text) || text != "caged-witness") continue;
    std::ifstream maps(entry.path() / "maps");
    for (std::string line; std::getline(maps, line);)
      if (line.find(shared) != std::string::npos) return pid;
  }
  return 0;
}

class campaign {
 public:
  explicit campaign(fs::path data) : data_(std::move(data)) { start(); }

  void start() {
    host_ = std::make_unique<server>(data_);
    ASSERT_TRUE(host_->healthy()) << host_->log();
  }

  // Asks one sandbox after the other until told to stop; keeps what was answered, and holds it to what it must be.
  void load(const std::atomic<bool>& stop) {
    auto http = host_->client();
    for (int i = 0; !stop; ++i) {
      const std::string id = boxes_[static_cast<std::size_t>(i) % boxes_.size()];
      const std::string marker = "mark-" + std::to_string(++marks_);
      const int code = marks_ % 7;
      auto done = http.call("POST", "/v1/sandboxes/" + id + "/exec",
                            {{"command", "/bin/true; echo " + marker + "; exit " + std::to_string(code)}});
      if (!done) continue;
      EXPECT_EQ((*done)["stdout"], marker + "\n");
      EXPECT_EQ((*done)["exit_code"], code) << "an exit that was not its own";
      answered_.push_back({id, marker});
    }
  }

  void kill(int victim, std::size_t which) {
    if (victim == 0) {
      host_->end(SIGKILL);
      return;
    }
    const pid_t pid = victim == 1 ? witness_of(data_) : agent_of(data_, boxes_[which % boxes_.size()]);
    if (pid > 1) ::kill(pid, SIGKILL);
  }

  // Every sandbox either works or says what became of it.
  void account(const char* what) {
    auto http = host_->client();
    for (auto& id : boxes_) {
      auto works = [&] {
        auto now = http.call("GET", "/v1/sandboxes/" + id);
        if (!now) return false;
        if ((*now)["status"] != "running") return true;
        auto ok = http.call("POST", "/v1/sandboxes/" + id + "/exec", {{"command", "/bin/echo ok"}});
        return ok && (*ok)["stdout"] == "ok\n";
      };
      EXPECT_TRUE(eventually(works, std::chrono::seconds(30))) << what << "\n" << host_->log();
      auto now = http.call("GET", "/v1/sandboxes/" + id);
      ASSERT_TRUE(now);
      if ((*now)["status"] == "running") continue;
      EXPECT_EQ((*now)["status"], "error") << what;
      remember(id);
      ASSERT_TRUE(http.call("DELETE", "/v1/sandboxes/" + id));
      id = create(http);
    }
  }

  void make_boxes(std::size_t count) {
    auto http = host_->client();
    while (boxes_.size() < count) boxes_.push_back(create(http));
  }

  // Of each session: the chain holds, and every answer is in it.
  void verify_and_end() {
    auto http = host_->client();
    for (const auto& id : boxes_) remember(id);
    for (const auto& [id, session] : sessions_) {
      EXPECT_EQ((*http.call("GET", "/v1/sessions/" + session + "/verify"))["intact"], true);
      std::string text;
      for (std::string after = "0";;) {
        auto page = http.call("GET", "/v1/sessions/" + session + "/replay?limit=1000&after_seq=" + after);
        ASSERT_TRUE(page);
        for (const auto& e : (*page)["events"])
          if (e["type"] == "command" && e["data"].value("phase", "") == "finished" && e["data"].contains("exit"))
            text += e["data"].dump();
        if ((*page)["has_more"] != true) break;
        after = (*page)["next_seq"].dump();
      }
      for (const auto& a : answered_) {
        if (a.sandbox != id) continue;
        EXPECT_NE(text.find(a.marker + ";"), std::string::npos)
            << a.marker << " was answered and is not in the journal";
      }
    }
    for (const auto& id : boxes_) EXPECT_TRUE(http.call("DELETE", "/v1/sandboxes/" + id));
    host_->end(SIGTERM);
    EXPECT_TRUE(fs::is_empty(data_ / "plugins/vmm.jail/boxes")) << host_->log();
    EXPECT_TRUE(eventually([&] { return witness_of(data_) == 0; })) << "the witness ends with the last box";
  }

  std::size_t answers() const { return answered_.size(); }

 private:
  static std::string create(http::client& http) {
    auto made = http.call("POST", "/v1/sandboxes?wait=true", {{"template", "host"}});
    return made ? (*made)["id"].get<std::string>() : describe(made.error());
  }

  void remember(const std::string& id) {
    auto now = host_->client().call("GET", "/v1/sandboxes/" + id);
    if (now) sessions_[id] = (*now)["session_id"].get<std::string>();
  }

  fs::path data_;
  std::unique_ptr<server> host_;
  std::vector<std::string> boxes_;
  std::map<std::string, std::string> sessions_;
  std::vector<answered> answered_;
  int marks_ = 0;
};

TEST(Campaign, KilledAtRandomMomentsNothingIsLostOrInvented) {
  const int rounds = std::getenv("CAGED_SOAK_MINUTES") != nullptr ? 300 : 6;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto data = temporary_folder();
  {
    campaign c(data);
    c.make_boxes(2);
    constexpr const char* victims[] = {"server", "witness", "agent"};
    for (int round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
      std::atomic<bool> stop = false;
      std::thread work([&] { c.load(stop); });
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 80));
      c.kill(round % 3, random());
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
      stop = true;
      work.join();
      if (round % 3 == 0) c.start();
      c.account(victims[round % 3]);
    }
    EXPECT_GT(c.answers(), 0u);
    c.verify_and_end();
    std::printf("%d kills, %zu answers held\n", rounds, c.answers());
  }
  fs::remove_all(data);
}

}  // namespace
}  // namespace caged::testing
