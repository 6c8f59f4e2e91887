#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "program.hpp"

namespace caged::testing {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

// `caged` on a terminal of its own, with us as the person in front of it.
class on_terminal {
 public:
  explicit on_terminal(const std::vector<std::string>& words) {
    const auto data = server().data;
    winsize size{};
    size.ws_row = 31;
    size.ws_col = 97;
    pid_ = ::forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ == 0) become_caged(words, data);
  }
  ~on_terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }

  void type(const std::string& keys) const {
    ASSERT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  bool shows(const std::string& text, std::chrono::seconds time) {
    const auto until = clock::now() + time;
    while (seen_.find(text) == std::string::npos && clock::now() < until) take();
    return seen_.find(text) != std::string::npos;
  }

  int wait(std::chrono::seconds time) {
    const auto until = clock::now() + time;
    while (clock::now() < until) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
      }
      take();
    }
    return -1;
  }

  bool echoes() const {
    termios now{};
    return ::tcgetattr(master_, &now) == 0 && (now.c_lflag & ECHO) != 0 && (now.c_lflag & ICANON) != 0;
  }
  const std::string& seen() const { return seen_; }

 private:
  void take() {
    pollfd p{master_, POLLIN, 0};
    if (::poll(&p, 1, 50) <= 0) return;
    char text[4096];
    const ssize_t n = ::read(master_, text, sizeof text);
    if (n > 0)
      seen_.append(text, static_cast<std::size_t>(n));
    else
      ::usleep(10'000);
  }

  pid_t pid_ = -1;
  int master_ = -1;
  std::string seen_;
};

std::string make_sandbox() {
  auto made = caged({"up", "-q", "--no-start"});
  EXPECT_EQ(made.code, 0) << made.err;
  while (!made.out.empty() && made.out.back() == '\n') made.out.pop_back();
  return made.out;
}

TEST(Terminal, ConnectMirrorsTheShellAndRestoresTheTerminal) {
  const std::string id = make_sandbox();
  on_terminal t({"connect", id});
  t.type("echo a$((40+2))b; stty size\r");
  EXPECT_TRUE(t.shows("a42b", 20s)) << t.seen();
  EXPECT_TRUE(t.shows("31 97", 5s)) << t.seen();
  EXPECT_FALSE(t.echoes()) << "raw while connected";
  t.type("exit 3\r");
  EXPECT_EQ(t.wait(20s), 3) << t.seen();
  EXPECT_TRUE(t.echoes());
  caged({"rm", "-q", id});
}

TEST(Terminal, TheDetachKeyLeavesTheShellAlone) {
  const std::string id = make_sandbox();
  on_terminal t({"connect", id});
  t.type("echo on$((1))e\r");
  EXPECT_TRUE(t.shows("on1e", 20s)) << t.seen();
  t.type("\x1d");
  EXPECT_EQ(t.wait(20s), 0) << t.seen();
  EXPECT_TRUE(t.echoes());
  caged({"rm", "-q", id});
}

TEST(Terminal, ATermSignalRestoresTheTerminal) {
  const std::string id = make_sandbox();
  on_terminal t({"exec", "-t", id, "--", "echo rea''dy; sleep 60"});
  EXPECT_TRUE(t.shows("ready", 20s)) << t.seen();
  t.type("\x03");
  EXPECT_EQ(t.wait(20s), 130) << "Ctrl-C is a key for the command: " << t.seen();
  EXPECT_TRUE(t.echoes());
  caged({"rm", "-q", id});
}

}  // namespace
}  // namespace caged::testing
