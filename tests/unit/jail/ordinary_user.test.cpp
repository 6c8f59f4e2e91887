// The same boxes, made by an ordinary user: runs this program again as one.
#include "support.hpp"

#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace caged::vmm::jail::testing {
namespace {

constexpr uid_t nobody = 65534;

TEST(jail_ordinary_user, makes_boxes_too) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT RUN: only root can become an ordinary user; the other tests run as one already";
  test_host host;
  const auto home = host.data_dir() / "home";
  std::filesystem::create_directories(home);
  ASSERT_EQ(::chmod(host.data_dir().c_str(), 0755), 0);
  ASSERT_EQ(::chown(home.c_str(), nobody, nobody), 0);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string tmp = "TMPDIR=" + home.string(), log = (home / "log").string();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const char* argv[] = {self.c_str(), "--gtest_filter=jail_box.*:jail_adopt.*", nullptr};
    const char* env[] = {tmp.c_str(), "PATH=/usr/bin:/bin", nullptr};
    if (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0 || ::chdir("/") != 0) ::_exit(99);
    const int out = ::open(log.c_str(), O_CREAT | O_WRONLY, 0600);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execve(argv[0], const_cast<char* const*>(argv), const_cast<char* const*>(env));
    ::_exit(98);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  std::ifstream in(log);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status << "\n" << text;
  EXPECT_NE(text.find("[  PASSED  ]"), std::string::npos) << text;
  EXPECT_EQ(text.find("SKIPPED"), std::string::npos) << text;
}

}  // namespace
}  // namespace caged::vmm::jail::testing
