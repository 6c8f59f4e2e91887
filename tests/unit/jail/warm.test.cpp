// Boxes that are made ahead are the same boxes.
#include "support.hpp"

namespace caged::vmm::jail::testing {
namespace {

// Until the pool has made its boxes.
bool wait_for_warm(const std::filesystem::path& data, std::size_t count) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < until) {
    std::size_t seen = 0;
    for (const auto& entry : std::filesystem::directory_iterator(data / "boxes"))
      seen += entry.path().filename().string().starts_with("warm-");
    if (seen == count) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST(jail_warm, a_box_made_ahead_has_its_own_name_environment_limits_and_evidence) {
  test_host host;
  {
    backend once(host, test_config());  // what a host opens for good
    ASSERT_TRUE(host.await(once.open()));
    ASSERT_TRUE(host.await(once.make(small_box("once"))));
    ASSERT_TRUE(run_in(host, once, "once", "true"));
    ASSERT_TRUE(host.await(once.destroy("once")));
    ASSERT_TRUE(host.await(once.close()));
  }
  const auto before = count_leftovers(host.data_dir());
  {
    backend jail(host, test_config({{"warm_boxes", 2}}));
    ASSERT_TRUE(host.await(jail.open()));
    ASSERT_TRUE(host.await(jail.make(small_box("first"))));
    ASSERT_TRUE(wait_for_warm(host.data_dir(), 2));
    box_spec spec = small_box("second");
    spec.env = {{"GREETING", "hello"}};
    auto made = host.await(jail.make(spec));
    ASSERT_TRUE(made) << describe(made.error());
    EXPECT_EQ(made->id, "second");
    const auto say = [&](const std::string& command) {
      auto r = run_in(host, jail, "second", command);
      return r ? r->output : describe(r.error());
    };
    EXPECT_EQ(say("hostname; cat /etc/hostname; grep -c second /etc/hosts"), "second\nsecond\n1\n");
    EXPECT_EQ(say("/usr/bin/env > /dev/null; echo ok"), "ok\n");
    auto seen = host.facts(
        [](const event& e) { return e.sandbox_id == "second" && e.data.value("path", "") == "/usr/bin/env"; });
    EXPECT_EQ(seen.size(), 1u);
    auto changed = host.await(jail.changes("second"));
    ASSERT_TRUE(changed);
    EXPECT_TRUE(changed->empty()) << changed->front().path;
    auto usage = host.await(jail.usage("second"));
    ASSERT_TRUE(usage);
    // What differs in anything else is made for itself.
    box_spec other = small_box("third");
    other.memory_bytes *= 2;
    ASSERT_TRUE(host.await(jail.make(other)));
    for (const char* id : {"first", "second", "third"}) ASSERT_TRUE(host.await(jail.destroy(id)));
    ASSERT_TRUE(host.await(jail.close()));
  }
  EXPECT_EQ(count_leftovers(host.data_dir()), before) << host.logged();
}

TEST(jail_warm, a_killed_host_leaves_none_behind) {
  test_host folder;
  const auto before = count_leftovers(folder.data_dir());
  {
    child_program first(
        {std::string(CAGED_BUILD_DIR) + "/tests/caged-jail-test-host", folder.data_dir().string(), "--warm", "a", "b"});
    ASSERT_TRUE(first.wait_ready());
    ASSERT_TRUE(wait_for_warm(folder.data_dir(), 2));
    first.kill_hard();
  }
  test_host host(folder.data_dir());
  backend jail(host, test_config());
  ASSERT_TRUE(host.await(jail.open()));
  auto adopted = host.await(jail.adopt({"a", "b"}));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->size(), 2u) << host.logged();
  for (const char* id : {"a", "b"}) ASSERT_TRUE(host.await(jail.destroy(id)));
  EXPECT_TRUE(std::filesystem::is_empty(folder.data_dir() / "boxes")) << host.logged();
  ASSERT_TRUE(host.await(jail.close()));
  EXPECT_EQ(count_leftovers(folder.data_dir()).cgroups, before.cgroups);
}

}  // namespace
}  // namespace caged::vmm::jail::testing
