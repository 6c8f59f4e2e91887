// Boxes outlive the host: adopted when wanted, swept when not. Runs as root and as an ordinary user.
#include "support.hpp"

#include <sys/wait.h>
#include <fstream>

namespace caged::vmm::jail::testing {
namespace {

bool alive(std::int64_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  return !text.empty() && text.find(") Z ") == std::string::npos;
}

class jail_adopt : public ::testing::Test {
 protected:
  // A folder of its own that outlives the hosts on it.
  test_host owner_;
  const std::filesystem::path data_ = owner_.data_dir() / "jail";
  const std::string program_ = std::string(CAGED_BUILD_DIR) + "/tests/caged-jail-test-host";

  void SetUp() override { std::filesystem::create_directories(data_); }
  std::int64_t recorded_pid(const std::string& id) const {
    std::ifstream in(data_ / "boxes" / id / "box.json");
    return json::parse(in).at("process").at("pid").get<std::int64_t>();
  }
};

TEST_F(jail_adopt, takes_over_the_wanted_and_sweeps_the_rest) {
  const auto before = count_leftovers(data_);
  {
    child_program first({program_, data_.string(), "keep", "drop"});
    ASSERT_TRUE(first.wait_ready());
    first.kill_hard();
  }
  const auto keep = recorded_pid("keep"), drop = recorded_pid("drop");
  EXPECT_TRUE(alive(keep));
  EXPECT_TRUE(alive(drop));
  {
    test_host host(data_);
    backend jail(host, test_config());
    ASSERT_TRUE(host.await(jail.open()));
    auto adopted = host.await(jail.adopt({"keep", "never-made"}));
    ASSERT_TRUE(adopted) << describe(adopted.error());
    ASSERT_EQ(adopted->size(), 1u) << host.logged();
    EXPECT_EQ(adopted->front().id, "keep");
    EXPECT_EQ(adopted->front().pid, keep);
    EXPECT_FALSE(alive(drop));
    EXPECT_FALSE(std::filesystem::exists(data_ / "boxes" / "drop"));
    auto r = run_in(host, jail, "keep", "hostname; echo more > /workspace/more");
    ASSERT_TRUE(r) << describe(r.error());
    EXPECT_EQ(r->output, "keep\n");
    auto changed = host.await(jail.changes("keep"));
    ASSERT_TRUE(changed);
    ASSERT_EQ(changed->size(), 1u);
    EXPECT_EQ(changed->front().path, "/workspace/more");
    // A new box does not get the user ids of an adopted one.
    ASSERT_TRUE(host.await(jail.make(small_box("next"))));
    auto ended = asio::co_spawn(host.executor(), jail.wait("keep"), asio::use_future);
    ASSERT_TRUE(host.await(jail.destroy("keep")));
    ASSERT_EQ(ended.wait_for(std::chrono::seconds(10)), std::future_status::ready);
    auto end = ended.get();
    ASSERT_TRUE(end);
    EXPECT_EQ(end->reason, "destroyed");
    EXPECT_FALSE(end->waited) << "no status of a process that was not ours to wait for";
    ASSERT_TRUE(host.await(jail.destroy("next")));
    ASSERT_TRUE(host.await(jail.close()));
  }
  EXPECT_FALSE(alive(keep));
  EXPECT_EQ(count_leftovers(data_), before);
}

TEST_F(jail_adopt, never_kills_a_stranger_with_a_recorded_number) {
  child_program stranger({"/bin/sh", "-c", "echo ready; exec sleep 1000"});
  ASSERT_TRUE(stranger.wait_ready());
  // Records that lie: our own number, another start time; half a record; a folder without one; a file.
  const auto boxes = data_ / "boxes";
  std::filesystem::create_directories(boxes / "liar");
  std::filesystem::create_directories(boxes / "half");
  std::filesystem::create_directories(boxes / "empty");
  std::ofstream(boxes / "liar" / "box.json")
      << json{{"version", 1},
              {"id", "liar"},
              {"phase", "running"},
              {"process", {{"pid", ::getpid()}, {"start_ticks", 1}, {"boot", "x"}}},
              {"slot", 0},
              {"cgroup", json::object()},
              {"layers", json::array()},
              {"etc", ""},
              {"walls", json::array()},
              {"missing", json::array()},
              {"owners_mapped", true},
              {"witness", 0}};
  std::ofstream(boxes / "half" / "box.json") << "{\"version\":1,\"id\":\"ha";
  std::ofstream(boxes / "file") << "x";
  test_host host(data_);
  backend jail(host, test_config());
  ASSERT_TRUE(host.await(jail.open()));
  auto adopted = host.await(jail.adopt({"liar", "half", "empty", "file"}));
  ASSERT_TRUE(adopted);
  EXPECT_TRUE(adopted->empty());
  EXPECT_TRUE(std::filesystem::is_empty(boxes)) << host.logged();
  ASSERT_TRUE(host.await(jail.close()));
}

TEST_F(jail_adopt, refuses_a_second_host_on_one_folder) {
  child_program first({program_, data_.string()});
  ASSERT_TRUE(first.wait_ready());
  test_host host(data_);
  backend second(host, test_config());
  auto opened = host.await(second.open());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason, "data_folder_in_use");
  first.kill_hard();
  ASSERT_TRUE(host.await(second.open())) << "the folder is free again";
  ASSERT_TRUE(host.await(second.close()));  // also removes the killed host's empty cgroups
}

// Killed at any moment, a host leaves boxes that the next one can account for.
TEST_F(jail_adopt, survives_kills_at_random_moments) {
  const auto before = count_leftovers(data_);
  for (int round = 0; round < 12; ++round) {
    {
      child_program host_process({program_, data_.string(), "a", "b", "c"});
      std::this_thread::sleep_for(std::chrono::milliseconds(4 + round * 9));
      host_process.kill_hard();
    }
    test_host host(data_);
    backend jail(host, test_config());
    auto opened = host.await(jail.open());
    ASSERT_TRUE(opened) << describe(opened.error());
    auto adopted = host.await(jail.adopt({"a"}));
    ASSERT_TRUE(adopted);
    for (const auto& box : *adopted) {
      auto r = run_in(host, jail, box.id, "echo ok");
      ASSERT_TRUE(r) << describe(r.error());
      EXPECT_EQ(r->output, "ok\n");
      ASSERT_TRUE(host.await(jail.destroy(box.id)));
    }
    EXPECT_TRUE(std::filesystem::is_empty(data_ / "boxes")) << host.logged();
    ASSERT_TRUE(host.await(jail.close()));
  }
  EXPECT_EQ(count_leftovers(data_), before);
}

}  // namespace
}  // namespace caged::vmm::jail::testing
