// A disk that fills up: refused, nothing half-written, and it works again when there is space.
#include <gtest/gtest.h>

#include <sys/mount.h>
#include <unistd.h>
#include <fstream>

#include "tests/unit/storage/world.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

class full_disk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "NOT RUN: a file system that fills up needs root to be mounted";
    place = dir.path() / "small";
    fs::create_directory(place);
    ASSERT_EQ(::mount("tmpfs", place.c_str(), "tmpfs", 0, "size=2m"), 0);
  }
  void TearDown() override {
    if (place.empty()) return;
    EXPECT_EQ(::umount(place.c_str()), 0);
  }
  // Leaves `spare` bytes.
  void fill_up(std::uintmax_t spare) {
    const auto available = fs::space(place).available;
    std::ofstream out(place / "ballast", std::ios::binary);
    out << std::string(available > spare ? available - spare : 0, 'x');
  }
  folder dir;
  fs::path place;
};

TEST_F(full_disk, a_new_database_is_refused_and_leaves_nothing) {
  fill_up(0);
  loop l;
  opened_storage o(l, settings_in(place));
  ASSERT_FALSE(o.opened);
  EXPECT_EQ(o.opened.error().code, errc::insufficient_storage) << describe(o.opened.error());
  EXPECT_FALSE(fs::exists(place / "caged.db"));
  EXPECT_FALSE(fs::exists(place / "caged.db.new"));
  fs::remove(place / "ballast");
  opened_storage again(l, settings_in(place));
  EXPECT_TRUE(again.opened) << describe(again.opened.error());
}

TEST_F(full_disk, commits_are_refused_whole_and_work_again_after) {
  loop l;
  {
    opened_storage o(l, settings_in(place));
    ASSERT_TRUE(o.opened);
    ASSERT_TRUE(l.run(o.store->commit(one_record("before", 1))));
    fill_up(100 * 1024);
    // Many at once, so that they share transactions: those that answered well must be there, the others not.
    std::vector<std::future<result<void>>> pending;
    for (int i = 0; i < 200; ++i) {
      pending.push_back(asio::co_spawn(l.executor(),
                                       o.store->commit(one_record("r" + std::to_string(i), std::string(4000, 'r'))),
                                       asio::use_future));
    }
    int good = 0, bad = 0;
    std::vector<bool> stored;
    for (auto& p : pending) {
      auto done = p.get();
      stored.push_back(done.has_value());
      ++(done ? good : bad);
      if (!done) {
        EXPECT_EQ(done.error().code, errc::insufficient_storage) << describe(done.error());
        EXPECT_FALSE(done.error().action.empty());
      }
    }
    EXPECT_GT(bad, 0);
    for (int i = 0; i < 200; ++i) {
      auto r = l.run(o.store->get("k", "r" + std::to_string(i)));
      ASSERT_TRUE(r) << describe(r.error());
      EXPECT_EQ(r->has_value(), stored[static_cast<std::size_t>(i)]) << i;
    }
    auto before = l.run(o.store->get("k", "before"));
    ASSERT_TRUE(before && *before) << "reading works on a full disk";
    fs::remove(place / "ballast");
    auto after = l.run(o.store->commit(one_record("after", 2)));
    EXPECT_TRUE(after) << describe(after.error());
  }
  opened_storage o(l, settings_in(place));
  ASSERT_TRUE(o.opened) << describe(o.opened.error());
  auto after = l.run(o.store->get("k", "after"));
  ASSERT_TRUE(after);
  EXPECT_TRUE(after->has_value());
}

TEST_F(full_disk, a_batch_too_large_for_the_disk_does_not_fail_its_neighbours) {
  loop l;
  opened_storage o(l, settings_in(place));
  ASSERT_TRUE(o.opened);
  std::vector<std::future<result<void>>> pending;
  for (int i = 0; i < 30; ++i) {
    const std::size_t size = i == 10 ? 5u << 20 : 100;
    pending.push_back(asio::co_spawn(
        l.executor(), o.store->commit(one_record("r" + std::to_string(i), std::string(size, 'r'))), asio::use_future));
  }
  for (int i = 0; i < 30; ++i) {
    auto done = pending[static_cast<std::size_t>(i)].get();
    EXPECT_EQ(done.has_value(), i != 10) << i << (done ? "" : describe(done.error()));
  }
}

}  // namespace
}  // namespace caged::testing
