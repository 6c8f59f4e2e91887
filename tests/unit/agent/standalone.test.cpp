// The standalone agent through a plain socket.
#include <poll.h>

#include "tests/unit/agent/agent_fixture.hpp"

namespace caged::test {
namespace {

class agent_standalone : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/caged-standalone-XXXXXX";
    folder_ = ::mkdtemp(name);
    std::filesystem::create_directory(folder_ + "/ws");
    socket_ = folder_ + "/run/agent.sock";
    agent_ = start_program(
        {CAGED_AGENT_PROGRAM, "--workspace=" + folder_ + "/ws", "--socket", socket_, "--heartbeat-interval", "100ms",
         "--metrics-interval=150ms", "--log-level", "error", "--watch-debounce", "50ms"},
        -1);
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(socket_); }));
    connection_ = connect();
  }
  void TearDown() override {
    ::close(connection_);
    if (agent_ > 0) {
      ::kill(agent_, SIGTERM);
      ::waitpid(agent_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }
  int connect() {
    const int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_.c_str());
    for (int i = 0; i < 100 && ::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0; ++i)
      ::usleep(10000);
    return s;
  }
  void say(const std::string& line) { ASSERT_GT(::write(connection_, (line + "\n").data(), line.size() + 1), 0); }
  // The next message of this type; null when none comes in time.
  json hear(const std::string& type, int limit_ms = 3000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
    while (std::chrono::steady_clock::now() < deadline) {
      for (std::size_t end = 0; (end = held_.find('\n')) != std::string::npos;) {
        const json message = json::parse(held_.substr(0, end));
        held_.erase(0, end + 1);
        if (message.at("type") == type) return message.at("payload");
      }
      pollfd p{connection_, POLLIN, 0};
      if (::poll(&p, 1, 50) <= 0) continue;
      char piece[4096];
      const ssize_t n = ::read(connection_, piece, sizeof piece);
      if (n <= 0) return nullptr;
      held_.append(piece, static_cast<std::size_t>(n));
    }
    return nullptr;
  }
  std::string folder_, socket_, held_;
  pid_t agent_ = 0;
  int connection_ = -1;
};

TEST_F(agent_standalone, answers_bad_messages_with_an_error) {
  say("not json");
  EXPECT_EQ("malformed_json", hear("error").at("reason"));
  say("{}");
  EXPECT_EQ("missing_type", hear("error").at("reason"));
  say("{\"type\":\"dance\"}");
  EXPECT_EQ("unknown_type", hear("error").at("reason"));
  say("{\"type\":\"ping\"}");
  EXPECT_FALSE(hear("pong").is_null());
  const std::string endless(200000, 'x');
  [[maybe_unused]] const auto n = ::send(connection_, endless.data(), endless.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  EXPECT_TRUE(hear("pong", 500).is_null());
}

TEST_F(agent_standalone, pushes_heartbeat_and_true_metrics) {
  const pid_t burner = start_program({"/bin/sh", "-c", "while :; do :; done"}, -1);
  say("{\"type\":\"subscribe\"}");
  EXPECT_EQ(1, hear("heartbeat").at("sequence").is_number() ? 1 : 0);
  hear("metrics");
  ::usleep(800000);
  say("{\"type\":\"metrics\"}");
  json m;
  double busiest = 0;
  for (int i = 0; i < 6; ++i) {
    m = hear("metrics");
    ASSERT_FALSE(m.is_null());
    busiest = std::max(busiest, m.at("cpu_percent").get<double>());
  }
  ::kill(burner, SIGKILL);
  ::waitpid(burner, nullptr, 0);
  EXPECT_GT(busiest, 10.0) << m.dump();
  int running = 0;
  for (const auto& e : std::filesystem::directory_iterator("/proc"))
    running += std::isdigit(e.path().filename().string()[0]) != 0;
  EXPECT_NEAR(running, m.at("num_processes").get<int>(), 40);
  EXPECT_GT(m.at("memory_total_mb").get<int>(), 0);
  EXPECT_GT(m.at("disk_total_mb").get<int>(), 0);
}

TEST_F(agent_standalone, streams_file_changes) {
  say("{\"type\":\"watch_files\"}");
  const json started = hear("watch_started");
  EXPECT_TRUE(started.at("enabled").get<bool>());
  std::filesystem::create_directory(folder_ + "/ws/node_modules");
  std::ofstream(folder_ + "/ws/node_modules/noise") << "x";
  std::ofstream(folder_ + "/ws/.dotfile") << "1234";
  const json op = hear("file_op");
  EXPECT_EQ(".dotfile", op.at("path"));
  EXPECT_EQ("create", op.at("operation"));
  EXPECT_EQ(4, op.at("size"));
}

TEST_F(agent_standalone, is_gone_after_the_ack) {
  say("{\"type\":\"shutdown\"}");
  EXPECT_FALSE(hear("ack").is_null());
  int status = 0;
  ASSERT_TRUE(eventually([&] { return ::waitpid(agent_, &status, WNOHANG) == agent_; }, 2s));
  agent_ = 0;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(agent_standalone, refuses_bad_flags_and_a_second_agent) {
  const auto exit_of = [](std::vector<std::string> args) {
    args.insert(args.begin(), CAGED_AGENT_PROGRAM);
    const pid_t pid = start_program(args, -1);
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(2, exit_of({"--no-such-flag", "1"}));
  EXPECT_EQ(2, exit_of({"--heartbeat-interval", "soon"}));
  EXPECT_EQ(2, exit_of({"--workspace"}));
  EXPECT_EQ(2, exit_of({"--log-level=loud"}));
  EXPECT_EQ(2, exit_of({"--socket", socket_}));
  EXPECT_EQ(0, exit_of({"--version"}));
}

// Environment variables do what the flags do, and a flag wins over its variable.
class agent_environment : public agent_standalone {
 protected:
  void SetUp() override {}  // each test starts the agent its own way
  void start(const std::map<std::string, std::string>& variables, std::vector<std::string> flags = {}) {
    char name[] = "/tmp/caged-standalone-XXXXXX";
    folder_ = ::mkdtemp(name);
    std::filesystem::create_directory(folder_ + "/ws");
    socket_ = folder_ + "/agent.sock";
    std::vector<std::string> words{"/usr/bin/env", "CAGED_WORKSPACE=" + folder_ + "/ws", "CAGED_SOCKET=" + socket_};
    for (const auto& [key, value] : variables) words.push_back(key + "=" + value);
    words.push_back(CAGED_AGENT_PROGRAM);
    words.insert(words.end(), flags.begin(), flags.end());
    agent_ = start_program(words, -1);
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(socket_); }));
    connection_ = connect();
  }
};

TEST_F(agent_environment, variables_set_what_flags_set) {
  start({{"CAGED_HEARTBEAT_INTERVAL", "100ms"}, {"CAGED_METRICS_INTERVAL", "100ms"}, {"CAGED_LOG_LEVEL", "error"}});
  say("{\"type\":\"subscribe\"}");
  EXPECT_FALSE(hear("heartbeat").is_null());
  EXPECT_FALSE(hear("metrics").is_null());
}

TEST_F(agent_environment, a_flag_wins_over_its_variable) {
  start({{"CAGED_HEARTBEAT_INTERVAL", "1h"}}, {"--heartbeat-interval", "100ms"});
  say("{\"type\":\"subscribe\"}");
  EXPECT_FALSE(hear("heartbeat").is_null());
}

TEST_F(agent_environment, watching_can_be_off_and_says_so) {
  start({{"CAGED_WATCH_FILES", "false"}});
  say("{\"type\":\"watch_files\"}");
  const json started = hear("watch_started");
  EXPECT_FALSE(started.at("enabled").get<bool>());
  EXPECT_FALSE(started.at("reason").get<std::string>().empty());
}

TEST_F(agent_environment, a_bad_variable_is_refused) {
  const pid_t pid = start_program({"/usr/bin/env", "CAGED_METRICS_INTERVAL=often", CAGED_AGENT_PROGRAM}, -1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(2, WEXITSTATUS(status));
}

TEST_F(agent_environment, a_flood_of_changes_is_slowed_and_nothing_is_lost_unsaid) {
  start({{"CAGED_WATCH_RATE_LIMIT", "100"}, {"CAGED_WATCH_DEBOUNCE", "20ms"}});
  say("{\"type\":\"watch_files\"}");
  ASSERT_FALSE(hear("watch_started").is_null());
  const auto began = std::chrono::steady_clock::now();
  constexpr int files = 400;
  for (int i = 0; i < files; ++i) std::ofstream(folder_ + "/ws/f" + std::to_string(i)) << i;
  std::int64_t told = 0;
  while (told < files) {
    const json op = hear("file_op", 5000);
    ASSERT_FALSE(op.is_null()) << "silent after " << told << " of " << files;
    told += 1 + op.at("dropped_since_last").get<std::int64_t>();
  }
  // A burst of twice the rate at once, the rest at the rate.
  EXPECT_GE(std::chrono::steady_clock::now() - began, 1500ms);
}

TEST_F(agent_environment, subscribe_prints_the_change_stream) {
  start({{"CAGED_WATCH_DEBOUNCE", "20ms"}});
  const std::string out = folder_ + "/changes";
  const pid_t reader = start_program(
      {"/bin/sh", "-c",
       std::string("exec '") + CAGED_AGENT_PROGRAM + "' --subscribe --socket '" + socket_ + "' > '" + out + "'"},
      -1);
  const auto printed = [&](const std::string& text) {
    std::ifstream in(out);
    return std::string(std::istreambuf_iterator<char>(in), {}).find(text) != std::string::npos;
  };
  EXPECT_TRUE(eventually([&] { return printed("watch_started"); }));
  std::ofstream(folder_ + "/ws/new.txt") << "x";
  EXPECT_TRUE(eventually([&] { return printed("new.txt"); }));
  std::filesystem::rename(folder_ + "/ws/new.txt", folder_ + "/ws/old.txt");
  EXPECT_TRUE(eventually([&] { return printed("old.txt"); }));
  std::filesystem::remove(folder_ + "/ws/old.txt");
  EXPECT_TRUE(eventually([&] { return printed("\"delete\""); }));
  // It ends with the agent it listens to.
  ::kill(agent_, SIGTERM);
  ::waitpid(agent_, nullptr, 0);
  agent_ = 0;
  int status = 0;
  EXPECT_TRUE(eventually([&] { return ::waitpid(reader, &status, WNOHANG) == reader; }));
}

}  // namespace
}  // namespace caged::test
