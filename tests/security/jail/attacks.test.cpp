// Runs the attacks in a real box and looks at the host afterwards. As root and, by ordinary_user, as an ordinary user.
#include "support.hpp"

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <fstream>
#include <sstream>

namespace caged::vmm::jail::testing {
namespace {

std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What of the host an attack could have changed.
std::string host_state() {
  char name[256] = {};
  ::gethostname(name, sizeof name);
  return std::string(name) + slurp("/proc/sys/kernel/core_pattern") + slurp("/proc/sys/vm/overcommit_memory") +
         slurp("/proc/sys/net/ipv4/ip_forward") + slurp("/proc/self/mountinfo");
}

class jail_attacks : public shared_jail {};

TEST_F(jail_attacks, all_fail_and_the_host_is_unchanged) {
  const auto canary = host_->data_dir() / "canary";
  std::ofstream(canary) << "secret";
  ::setenv("CAGED_ATTACK_SECRET", "leak", 1);
  child_program bystander({"/bin/sh", "-c", "echo ready; exec sleep 1000"});
  ASSERT_TRUE(bystander.wait_ready());
  const int tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(tcp, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::listen(tcp, 4), 0);
  ::getsockname(tcp, reinterpret_cast<sockaddr*>(&at), &size);
  const std::string abstract = "caged-attack-" + std::to_string(::getpid());
  const int local = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  abstract.copy(un.sun_path + 1, 90);
  ASSERT_EQ(::bind(local, reinterpret_cast<sockaddr*>(&un),
                   static_cast<socklen_t>(sizeof un.sun_family + 1 + abstract.size())),
            0);
  ASSERT_EQ(::listen(local, 4), 0);
  const std::string before = host_state();
  const std::string agent_before = slurp(std::string(CAGED_BUILD_DIR) + "/tests/caged-stand-in-agent");

  make(small_box("attack"));
  const auto workspace = host_->data_dir() / "boxes/attack/fs/root/workspace";
  for (const char* name : {"attacks", "setid"}) {
    std::filesystem::copy_file(std::string(CAGED_BUILD_DIR) + "/tests/caged-jail-attacks", workspace / name);
    std::filesystem::permissions(workspace / name, std::filesystem::perms(0755));
  }
  if (::geteuid() == 0) {
    // As if made inside: owned by the box's root.
    struct stat st {};
    ASSERT_EQ(::stat(workspace.c_str(), &st), 0);
    ASSERT_EQ(::chown((workspace / "setid").c_str(), st.st_uid, st.st_gid), 0);
  }
  auto r = run_in(*host_, *jail_, "attack",
                  "/workspace/attacks " + canary.string() + " " + std::to_string(bystander.pid()) + " " +
                      std::to_string(ntohs(at.sin_port)) + " " + abstract + " CAGED_ATTACK_SECRET 2>&1",
                  std::chrono::seconds(50));
  ASSERT_TRUE(r) << describe(r.error());
  std::istringstream lines(r->output);
  std::size_t seen = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find('|') == std::string::npos) continue;
    ++seen;
    std::printf("  %s\n", line.c_str());
    EXPECT_NE(line.find("|stopped"), std::string::npos) << line;
  }
  EXPECT_GE(seen, 120u) << r->output;
  EXPECT_NE(r->output.find("attacks: " + std::to_string(seen)), std::string::npos) << "the list ran to its end";

  EXPECT_EQ(host_state(), before);
  EXPECT_EQ(slurp(canary), "secret");
  EXPECT_EQ(slurp(std::string(CAGED_BUILD_DIR) + "/tests/caged-stand-in-agent"), agent_before);
  EXPECT_EQ(::kill(bystander.pid(), 0), 0);
  EXPECT_EQ(::waitpid(bystander.pid(), nullptr, WNOHANG), 0) << "the host's process lives";
  for (const int s : {tcp, local}) {
    ::fcntl(s, F_SETFL, O_NONBLOCK);
    EXPECT_LT(::accept(s, nullptr, nullptr), 0) << "nobody came";
    ::close(s);
  }
  EXPECT_EQ(output("attack", "echo alive"), "alive\n");
}

TEST(jail_attacks_ordinary_user, all_fail_there_too) {
  if (::geteuid() != 0)
    GTEST_SKIP() << "NOT RUN: only root can become an ordinary user; the other test runs as one already";
  EXPECT_EQ(run_as_ordinary_user("jail_attacks.*"), "");
}

}  // namespace
}  // namespace caged::vmm::jail::testing
