#include "core/base/file.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <caged/random.hpp>
#include <cstdlib>

#include "core/base/instance_lock.hpp"
#include "core/base/paths.hpp"
#include "core/base/version.hpp"

namespace caged::base {
namespace {

namespace fs = std::filesystem;

class file : public ::testing::Test {
 protected:
  file() : dir(fs::temp_directory_path() / random_id("caged-test-", 10)) { fs::create_directory(dir); }
  ~file() override { fs::remove_all(dir); }
  fs::path dir;
};

mode_t mode_of(const fs::path& p) {
  struct stat info {};
  return ::stat(p.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

TEST_F(file, is_replaced_whole_and_private) {
  ASSERT_TRUE(write_file(dir / "key", std::string("a\0b", 3)));
  EXPECT_EQ(read_file(dir / "key").value(), std::string("a\0b", 3));
  EXPECT_EQ(mode_of(dir / "key"), 0600u);
  ASSERT_TRUE(write_file(dir / "key", "second", 0644));
  EXPECT_EQ(read_file(dir / "key").value(), "second");
  EXPECT_EQ(mode_of(dir / "key"), 0644u);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 1) << "no temporary file stays";
}

TEST_F(file, a_link_in_its_place_is_not_followed) {
  ASSERT_TRUE(write_file(dir / "target", "theirs"));
  fs::create_symlink(dir / "target", dir / "link");
  ASSERT_TRUE(write_file(dir / "link", "ours"));
  EXPECT_EQ(read_file(dir / "target").value(), "theirs");
  EXPECT_FALSE(fs::is_symlink(dir / "link"));
}

TEST_F(file, refusals_name_the_file) {
  auto missing = read_file(dir / "none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, errc::not_found);
  EXPECT_NE(missing.error().message.find("none"), std::string::npos);
  ASSERT_TRUE(write_file(dir / "big", std::string(100, 'x')));
  EXPECT_EQ(read_file(dir / "big", 99).error().code, errc::too_large);
  EXPECT_EQ(read_file(dir / "big", 100).value().size(), 100u);
  EXPECT_EQ(read_file(dir).error().reason, "not_a_file");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(read_file(dir / "fifo")) << "and it must not hang";
  EXPECT_FALSE(write_file(dir / "no" / "folder", "x"));
  fs::create_directory(dir / "folder");
  EXPECT_FALSE(write_file(dir / "folder", "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 3) << "a failed write leaves nothing";
}

TEST_F(file, folders_are_made_private) {
  ASSERT_TRUE(make_folder(dir / "a" / "b" / "c"));
  EXPECT_EQ(mode_of(dir / "a"), 0700u);
  EXPECT_EQ(mode_of(dir / "a/b/c"), 0700u);
  ASSERT_TRUE(make_folder(dir / "a" / "b" / "c"));
  ASSERT_TRUE(write_file(dir / "plain", "x"));
  EXPECT_FALSE(make_folder(dir / "plain"));
  EXPECT_FALSE(make_folder(dir / "plain" / "below"));
}

TEST_F(file, the_data_folder_has_one_server) {
  {
    auto first = instance_lock::take(dir / "data");
    ASSERT_TRUE(first) << describe(first.error());
    auto second = instance_lock::take(dir / "data");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, "data_folder_in_use");
    EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
    EXPECT_FALSE(second.error().action.empty());
  }
  EXPECT_TRUE(instance_lock::take(dir / "data"));
}

TEST_F(file, a_dead_server_does_not_keep_the_data_folder) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto lock = instance_lock::take(dir / "data");
    const char c = lock ? 'y' : 'n';
    (void)!::write(ready[1], &c, 1);
    while (true) ::pause();
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  EXPECT_EQ(c, 'y');
  auto refused = instance_lock::take(dir / "data");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(std::to_string(child)), std::string::npos) << "it names the other process";
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(instance_lock::take(dir / "data"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(paths, the_data_folder_follows_user_and_environment) {
  ::unsetenv("CAGED_DATA");
  const bool root = ::geteuid() == 0;
  EXPECT_EQ(default_data_dir() == "/var/lib/caged", root);
  ::setenv("CAGED_DATA", "/somewhere", 1);
  EXPECT_EQ(default_data_dir(), "/somewhere");
  ::unsetenv("CAGED_DATA");
  EXPECT_TRUE(program_dir().is_absolute());
  EXPECT_TRUE(home_dir().is_absolute());
  EXPECT_EQ(version().find_first_not_of("0123456789."), std::string_view::npos);
}

}  // namespace
}  // namespace caged::base
