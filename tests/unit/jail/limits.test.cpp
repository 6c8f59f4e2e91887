// Limits and counters by cgroup: root only, because an ordinary user has no cgroup to give without delegation.
#include "support.hpp"

namespace caged::vmm::jail::testing {
namespace {

class jail_limits : public shared_jail {};

TEST_F(jail_limits, stops_a_memory_bomb_of_many_processes) {
  box_spec spec = small_box("mem");
  spec.memory_bytes = 64ull << 20;
  make(spec);
  auto r = run_in(
      *host_, *jail_, "mem",
      "for i in 1 2 3 4; do python3 -c 'x = bytearray(40 << 20); import time; time.sleep(2)' & done; wait; echo end",
      std::chrono::seconds(30));
  ASSERT_TRUE(r) << describe(r.error());
  auto usage = host_->await(jail_->usage("mem"));
  ASSERT_TRUE(usage);
  EXPECT_GE(usage->oom_kills.value_or(0), 1u);
  EXPECT_LE(usage->memory_peak_bytes.value_or(~0ull), 64ull << 20);
  EXPECT_EQ(output("mem", "echo alive"), "alive\n");
}

TEST_F(jail_limits, stops_a_fork_bomb_beside_a_neighbour) {
  box_spec spec = small_box("forks");
  spec.max_processes = 32;
  make(spec);
  make(small_box("calm"));
  (void)run_in(*host_, *jail_, "forks",
               "exec 2>/dev/null; for i in $(seq 200); do sleep 30 >/dev/null 2>&1 & done; true");
  auto usage = host_->await(jail_->usage("forks"));
  ASSERT_TRUE(usage);
  EXPECT_LE(usage->tasks.value_or(~0ull), 32u);
  EXPECT_GE(usage->tasks.value_or(0), 16u) << "the bomb went off";
  EXPECT_EQ(output("calm", "echo calm"), "calm\n");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(host_->await(jail_->destroy("forks")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(jail_limits, shares_the_processor_as_set) {
  box_spec spec = small_box("slow");
  spec.cpus = 0.2;
  make(spec);
  (void)run_in(*host_, *jail_, "slow", "timeout 1 sh -c 'while :; do :; done'; true");
  auto usage = host_->await(jail_->usage("slow"));
  ASSERT_TRUE(usage);
  const auto used =
      usage->cpu_user.value_or(std::chrono::microseconds(0)) + usage->cpu_system.value_or(std::chrono::microseconds(0));
  EXPECT_GT(used, std::chrono::milliseconds(50));
  EXPECT_LT(used, std::chrono::milliseconds(600));
}

TEST_F(jail_limits, counts_what_the_box_wrote) {
  make(small_box("disk"));
  const auto before = host_->await(jail_->usage("disk"))->disk_bytes.value_or(0);
  EXPECT_EQ(output("disk", "head -c 8M /dev/urandom > big; sync big; echo ok"), "ok\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_GE(host_->await(jail_->usage("disk"))->disk_bytes.value_or(0), before + (8u << 20));
}

bool is_limit(const event& e, const std::string& id, const char* limit) {
  return e.sandbox_id == id && e.type == "error" && e.data.value("limit", "") == limit;
}

TEST_F(jail_limits, stops_whoever_fills_the_disk) {
  box_spec spec = small_box("full");
  spec.disk_bytes = 64ull << 20;
  make(spec);
  make(small_box("beside"));
  // One file is stopped at once, many when they are seen.
  auto one = run_in(*host_, *jail_, "full", "head -c 200M /dev/zero > one; rm -f one");
  ASSERT_TRUE(one);
  auto many = run_in(*host_, *jail_, "full",
                     "trap '' XFSZ; for i in $(seq 400); do head -c 8M /dev/zero > f$i || exit 3; sleep 0.02; done; exit 0",
                     std::chrono::seconds(50));
  ASSERT_TRUE(many) << describe(many.error());
  EXPECT_NE(many->exit_code(), 0);
  const auto told = host_->facts([](const event& e) { return is_limit(e, "full", "disk"); });
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told[0].data["reason"], "disk_limit");
  EXPECT_FALSE(told[0].data["action"].get<std::string>().empty());
  EXPECT_EQ(output("beside", "head -c 8M /dev/zero > f && echo fine"), "fine\n");
  EXPECT_EQ(output("full", "rm -f f*; echo removed"), "removed\n");
  // Whoever takes the limit back for himself ends when he is past it.
  (void)run_in(*host_, *jail_, "full",
               "trap '' XFSZ; for i in $(seq 400); do (ulimit -S -f unlimited; head -c 8M /dev/zero > g$i); sleep 0.02; done",
               std::chrono::seconds(50));
  EXPECT_LT(host_->await(jail_->usage("full"))->disk_bytes.value_or(~0ull), 2 * spec.disk_bytes);
  EXPECT_EQ(output("full", "rm -f g*; echo removed"), "removed\n");
  // With room again it may write again.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::string wrote;
  while (wrote != "8388608\n" && std::chrono::steady_clock::now() < until)
    wrote = output("full", "head -c 8M /dev/zero > again; stat -c %s again");
  EXPECT_EQ(wrote, "8388608\n");
}

TEST_F(jail_limits, tells_of_memory_and_processes_that_ran_out) {
  box_spec spec = small_box("poor");
  spec.memory_bytes = 64ull << 20;
  spec.max_processes = 24;
  make(spec);
  (void)run_in(*host_, *jail_, "poor", "python3 -c 'x = bytearray(200 << 20)'; true");
  EXPECT_FALSE(host_->facts([](const event& e) { return is_limit(e, "poor", "memory"); }).empty());
  (void)run_in(*host_, *jail_, "poor", "exec 2>/dev/null; for i in $(seq 60); do sleep 5 >/dev/null 2>&1 & done; true");
  EXPECT_FALSE(host_->facts([](const event& e) { return is_limit(e, "poor", "processes"); }).empty());
}

TEST_F(jail_limits, freezes_and_thaws) {
  make(small_box("ice"));
  (void)run_in(*host_, *jail_, "ice", "(while :; do echo x >> /workspace/ticks; sleep 0.01; done) >/dev/null 2>&1 &");
  auto paused = host_->await(jail_->pause("ice"));
  ASSERT_TRUE(paused) << describe(paused.error());
  const auto ticks = host_->data_dir() / "boxes/ice/fs/root/workspace/ticks";
  const auto size = std::filesystem::file_size(ticks);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  EXPECT_EQ(std::filesystem::file_size(ticks), size);
  ASSERT_TRUE(host_->await(jail_->resume("ice")));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_GT(std::filesystem::file_size(ticks), size);
  ASSERT_TRUE(host_->await(jail_->pause("ice")));
  EXPECT_TRUE(host_->await(jail_->destroy("ice"))) << "a frozen box can be destroyed";
}

TEST_F(jail_limits, names_the_wall_that_is_missing) {
  test_host host;
  backend jail(host, test_config({{"cgroup_root", "/no/such/group"}}));
  ASSERT_TRUE(host.await(jail.open()));
  auto made = host.await(jail.make(small_box("walls")));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, "wall_missing");
  EXPECT_NE(made.error().message.find("cgroup.memory"), std::string::npos) << made.error().message;
  EXPECT_NE(made.error().action.find("plugins.vmm.jail.accept_missing"), std::string::npos);
  box_spec spec = small_box("walls");
  spec.accept_missing = {"cgroup.memory", "cgroup.cpu", "cgroup.pids"};
  auto accepted = host.await(jail.make(spec));
  ASSERT_TRUE(accepted) << describe(accepted.error());
  EXPECT_EQ(accepted->missing.size(), 3u);
  EXPECT_TRUE(host.await(jail.destroy("walls")));
  ASSERT_TRUE(host.await(jail.close()));
}

}  // namespace
}  // namespace caged::vmm::jail::testing
