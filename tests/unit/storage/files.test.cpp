// Folders that cannot be written, two processes on one database, settings.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/world.hpp"

namespace caged::testing {
namespace {

namespace fs = std::filesystem;

TEST(files, a_missing_folder_is_refused_by_name) {
  folder dir;
  loop l;
  opened_storage o(l, settings_in(dir.path() / "nowhere"));
  ASSERT_FALSE(o.opened);
  EXPECT_EQ(o.opened.error().code, errc::not_found);
  EXPECT_NE(o.opened.error().message.find("nowhere"), std::string::npos);
  EXPECT_FALSE(o.opened.error().action.empty());
}

TEST(files, the_database_is_readable_by_its_owner_only) {
  folder dir;
  loop l;
  opened_storage o(l, settings_in(dir.path()));
  ASSERT_TRUE(o.opened);
  ASSERT_TRUE(l.run(o.store->commit(one_record("a", 1))));
  for (const char* name : {"caged.db", "caged.db-wal", "caged.db-shm", "caged.db.lock"}) {
    struct stat info {};
    ASSERT_EQ(::stat((dir.path() / name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST(files, a_read_only_folder_is_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT RUN: mounting a read-only file system needs root";
  folder dir;
  const auto place = dir.path() / "ro";
  fs::create_directory(place);
  ASSERT_EQ(::mount("tmpfs", place.c_str(), "tmpfs", 0, "size=8m"), 0);
  loop l;
  {
    opened_storage o(l, settings_in(place));
    EXPECT_TRUE(o.opened);
  }
  ASSERT_EQ(::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  {
    opened_storage o(l, settings_in(place));
    EXPECT_FALSE(o.opened);
    if (!o.opened) {
      EXPECT_EQ(o.opened.error().code, errc::permission_denied);
      EXPECT_NE(o.opened.error().message.find(place.string()), std::string::npos);
      EXPECT_FALSE(o.opened.error().action.empty());
    }
  }
  EXPECT_EQ(::umount(place.c_str()), 0);
}

TEST(files, a_second_storage_in_the_same_process_is_refused) {
  folder dir;
  loop l;
  opened_storage first(l, settings_in(dir.path()));
  ASSERT_TRUE(first.opened);
  opened_storage second(l, settings_in(dir.path()));
  ASSERT_FALSE(second.opened);
  EXPECT_EQ(second.opened.error().reason, "storage_locked");
}

TEST(files, a_second_process_is_refused_and_told_who_has_it) {
  folder dir;
  int ready[2], done[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(done, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char c = 'n';
    {
      loop l;
      opened_storage o(l, settings_in(dir.path()));
      c = o.opened ? 'y' : 'n';
      (void)!::write(ready[1], &c, 1);
      ::close(done[1]);
      (void)!::read(done[0], &c, 1);
    }
    ::_exit(0);
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  ASSERT_EQ(c, 'y');
  loop l;
  {
    opened_storage o(l, settings_in(dir.path()));
    ASSERT_FALSE(o.opened);
    EXPECT_EQ(o.opened.error().code, errc::conflict);
    EXPECT_NE(o.opened.error().message.find("process " + std::to_string(child)), std::string::npos)
        << o.opened.error().message;
    EXPECT_FALSE(o.opened.error().action.empty());
  }
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  // The lock died with its holder, however that died.
  opened_storage o(l, settings_in(dir.path()));
  EXPECT_TRUE(o.opened);
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
}

TEST(files, settings_are_read_and_refused) {
  using storage_sqlite::read_settings;
  auto plain = read_settings(json::object(), "/data");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->file, "/data/caged.db");
  EXPECT_EQ(plain->synchronous, storage_sqlite::durability::normal);
  json config = json::object();
  config["file"] = "/elsewhere/x.db";
  config["synchronous"] = "full";
  auto full = read_settings(config, "/data");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->file, "/elsewhere/x.db");
  EXPECT_EQ(full->synchronous, storage_sqlite::durability::full);
  config["synchronous"] = "sometimes";
  EXPECT_FALSE(read_settings(config, "/data"));
}

TEST(files, full_durability_works_too) {
  folder dir;
  loop l;
  auto s = settings_in(dir.path());
  s.synchronous = storage_sqlite::durability::full;
  opened_storage o(l, s);
  ASSERT_TRUE(o.opened);
  EXPECT_TRUE(l.run(o.store->commit(one_record("a", 1))));
}

}  // namespace
}  // namespace caged::testing
