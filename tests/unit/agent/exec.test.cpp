// Processes over the wire: the real agent, the real client.
#include "tests/unit/agent/agent_fixture.hpp"

namespace caged::test {
namespace {

class agent_exec : public agent_fixture {};

int count_processes_with(const std::string& text) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::string line((std::istreambuf_iterator<char>(file)), {});
    count += line.find(text) != std::string::npos && line.find("caged-agent") == std::string::npos;
  }
  return count;
}

// A sleep nobody else runs, to be found in /proc.
std::string odd_sleep() { return "4" + std::to_string(::getpid()) + std::to_string(::rand() % 1000); }

TEST_F(agent_exec, refuses_bad_requests_and_says_what_is_wrong) {
  const struct {
    json args;
    const char* path;
  } cases[] = {{json::object(), "/argv"},
               {{{"argv", "ls"}}, "/argv"},
               {{{"argv", json::array()}}, "/argv"},
               {{{"command", "  "}}, "/command"},
               {{{"command", 7}}, "/command"},
               {{{"argv", {"ls"}}, {"command", "ls"}}, "/command"},
               {{{"argv", {"true"}}, {"timeout_ms", -1}}, "/timeout_ms"},
               {{{"argv", {"true"}}, {"timeout_ms", "5"}}, "/timeout_ms"},
               {{{"argv", {"true"}}, {"env", {{"A=B", "x"}}}}, "/env"},
               {{{"argv", {"true"}}, {"env", {{"A", 5}}}}, "/env/A"},
               {{{"argv", {"true"}}, {"user", "no-such-user"}}, "/user"},
               {{{"argv", {std::string("tr\0ue", 5)}}}, "/argv"},
               {{{"argv", {"no-such-program-at-all"}}}, "/argv/0"}};
  for (const auto& c : cases) {
    auto refused = run(client().start("exec.start", c.args));
    ASSERT_FALSE(refused) << c.args.dump();
    EXPECT_EQ(c.path, refused.error().path) << c.args.dump() << refused.error().message;
    EXPECT_FALSE(refused.error().message.empty());
  }
  auto cwd = run(client().start("exec.start", json{{"argv", {"true"}}, {"cwd", "/no/such/folder"}}));
  ASSERT_FALSE(cwd);
  EXPECT_EQ(errc::not_found, cwd.error().code);
  EXPECT_FALSE(ask("no.such.operation"));
  EXPECT_EQ("unknown_operation", ask("no.such.operation").error().reason);
}

TEST_F(agent_exec, tells_stdout_from_stderr_and_the_exit_code) {
  const output o = exec({{"command", "echo out; echo err >&2; exit 3"}});
  EXPECT_EQ("out\n", o.out);
  EXPECT_EQ("err\n", o.err);
  ASSERT_TRUE(o.exit);
  EXPECT_EQ(3, o.exit->at("exit_code"));
  EXPECT_TRUE(o.exit->at("signal").is_null());
  EXPECT_FALSE(o.exit->at("timed_out").get<bool>());
  EXPECT_GT(o.exit->at("max_rss_kb").get<int>(), 0);
}

TEST_F(agent_exec, reports_the_signal_of_a_killed_process) {
  const output o = exec({{"command", "kill -SEGV $$"}});
  ASSERT_TRUE(o.exit);
  EXPECT_TRUE(o.exit->at("exit_code").is_null());
  EXPECT_EQ("SIGSEGV", o.exit->at("signal"));
}

TEST_F(agent_exec, passes_arguments_unchanged_and_gives_only_the_environment_asked_for) {
  EXPECT_EQ("a b|$HOME|\n", exec({{"argv", {"printf", "%s|%s|\n", "a b", "$HOME"}}}).out);
  const output o = exec({{"argv", {"env"}}, {"env", {{"ONE", "1,2=3"}, {"LANG", nullptr}}}});
  EXPECT_NE(std::string::npos, o.out.find("ONE=1,2=3\n"));
  EXPECT_EQ(std::string::npos, o.out.find("LANG="));
  EXPECT_NE(std::string::npos, o.out.find("PATH="));
  int lines = 0;
  for (const char c : o.out) lines += c == '\n';
  EXPECT_EQ(4, lines) << o.out;  // PATH HOME TERM ONE: nothing of the agent's own environment
}

TEST_F(agent_exec, runs_in_the_workspace_or_the_folder_asked_for) {
  EXPECT_EQ(folder_ + "/ws\n", exec({{"command", "pwd"}}).out);
  EXPECT_EQ("/usr\n", exec({{"command", "pwd"}, {"cwd", "/usr"}}).out);
}

TEST_F(agent_exec, becomes_another_user) {
  if (::getuid() != 0) GTEST_SKIP() << "NOT RUN: changing users needs root";
  EXPECT_EQ("65534:65534 /nonexistent\n",
            exec({{"command", "echo $(id -u):$(id -g) $HOME"}, {"user", "nobody"}, {"cwd", "/"}}).out);
  EXPECT_EQ("1234:77\n", exec({{"command", "echo $(id -u):$(id -g)"}, {"user", "1234:77"}, {"cwd", "/"}}).out);
}

TEST_F(agent_exec, inherits_no_descriptor_and_hides_its_socket) {
  EXPECT_EQ("0\n1\n2\n3\n", exec({{"argv", {"ls", "/proc/self/fd"}}}).out);  // 3 is ls's own
}

asio::awaitable<int> feed(std::shared_ptr<agent_process> p, std::string data) {
  auto written = co_await p->write_stdin(std::move(data));
  auto closed = co_await p->close_stdin();
  co_return written&& closed ? 0 : 1;
}

TEST_F(agent_exec, sends_stdin_with_all_byte_values_and_closes_it) {
  std::string all;
  for (int i = 0; i < 256 * 1024; ++i) all += static_cast<char>(i * 7 + i / 256);
  const auto p = start({{"argv", {"cat"}}, {"stdin", true}});
  asio::co_spawn(context_, feed(p, all), asio::detached);
  const output o = run(read_all(p));
  EXPECT_TRUE(all == o.out);
  EXPECT_EQ(0, o.exit->at("exit_code"));
}

TEST_F(agent_exec, without_stdin_a_reader_sees_the_end_at_once) { EXPECT_EQ("0\n", exec({{"command", "wc -c"}}).out); }

TEST_F(agent_exec, input_for_a_process_that_does_not_read_ends_with_the_process) {
  const auto p = start({{"argv", {"sleep", "0.2"}}, {"stdin", true}});
  asio::co_spawn(context_, feed(p, std::string(4 << 20, 'x')), asio::detached);
  EXPECT_EQ(0, run(read_all(p)).exit->at("exit_code"));
}

asio::awaitable<std::uint64_t> count_bytes(std::shared_ptr<agent_process> p) {
  std::uint64_t total = 0;
  for (;;) {
    auto item = co_await p->next();
    if (!item || !*item) co_return 0;
    if ((*item)->what == process_item::kind::exit) co_return total;
    total += (*item)->data.size();
  }
}

TEST_F(agent_exec, carries_100_megabytes_without_losing_a_byte) {
  const auto p = start({{"command", "head -c 100000000 /dev/zero"}});
  EXPECT_EQ(100000000u, run(count_bytes(p)));
}

TEST_F(agent_exec, a_slow_reader_stalls_the_process_but_not_the_connection) {
  const auto p = start({{"command", "head -c 8000000 /dev/zero; touch " + ws("done")}});
  ::usleep(200000);
  EXPECT_TRUE(ask("ping"));
  EXPECT_FALSE(std::filesystem::exists(ws("done")));
  EXPECT_EQ(8000000u, run(count_bytes(p)));
  EXPECT_TRUE(std::filesystem::exists(ws("done")));
}

TEST_F(agent_exec, a_timeout_kills_the_whole_tree_even_what_fled) {
  const std::string nap = odd_sleep();
  const std::string flee = "setsid sh -c 'env -i setsid sleep " + nap + " & exit' & sleep " + nap;
  const auto began = std::chrono::steady_clock::now();
  const output o = exec({{"command", flee}, {"timeout_ms", 300}});
  const auto took = std::chrono::steady_clock::now() - began;
  ASSERT_TRUE(o.exit);
  EXPECT_TRUE(o.exit->at("timed_out").get<bool>());
  EXPECT_EQ("SIGKILL", o.exit->at("signal"));
  EXPECT_LT(took, 1500ms);
  EXPECT_TRUE(eventually([&] { return count_processes_with(nap) == 0; }));
}

TEST_F(agent_exec, a_background_child_that_holds_stdout_does_not_hold_the_exit) {
  const std::string nap = odd_sleep();
  const auto began = std::chrono::steady_clock::now();
  const auto p = start({{"command", "echo here; sleep " + nap + " &"}});
  const output o = run(read_all(p));
  EXPECT_EQ("here\n", o.out);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
  EXPECT_EQ(1, count_processes_with(nap));
  EXPECT_TRUE(ask("process.signal", {{"id", p->id()}, {"signal", "SIGKILL"}}));
  EXPECT_TRUE(eventually([&] { return count_processes_with(nap) == 0; }));
}

TEST_F(agent_exec, signals_reach_the_process_group) {
  const auto p = start({{"command", "trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.02; done"}});
  auto first = run(p->next());
  ASSERT_TRUE(first && *first);
  EXPECT_FALSE(ask("process.signal", {{"id", p->id()}, {"signal", "SIGNOSUCH"}}));
  EXPECT_TRUE(ask("process.signal", {{"id", p->id()}, {"signal", "SIGUSR1"}}));
  const output o = run(read_all(p));
  EXPECT_EQ("got\n", o.out);
  EXPECT_EQ(7, o.exit->at("exit_code"));
  EXPECT_EQ("process_finished", ask("process.signal", {{"id", p->id()}}).error().reason);
}

TEST_F(agent_exec, a_background_process_survives_its_connection_and_keeps_its_output) {
  const auto p = start({{"command", "echo before; sleep 0.3; echo after; exit 5"}, {"tag", "job"}});
  const std::string id = p->id();
  client_.reset();
  auto again = run(client().attach(id));
  ASSERT_TRUE(again);
  const output o = run(read_all(*again));
  EXPECT_EQ("before\nafter\n", o.out);
  EXPECT_EQ(5, o.exit->at("exit_code"));
  // And once more after its end.
  EXPECT_EQ("before\nafter\n", run(read_all(*run(client().attach(id)))).out);
  EXPECT_EQ(5, ask("process.wait", {{"id", id}})->at("exit").at("exit_code"));
  EXPECT_EQ("process_not_found", run(client().attach("p-0")).error().reason);
}

TEST_F(agent_exec, unread_output_of_a_background_process_is_bounded_and_counted) {
  auto started = ask("exec.start", {{"command", "head -c 1000000 /dev/zero; echo -n end"}});
  ASSERT_TRUE(started);
  const auto id = started->at("id").get<std::string>();
  ASSERT_TRUE(ask("process.wait", {{"id", id}, {"timeout_ms", 5000}}));
  const output o = run(read_all(*run(client().attach(id))));
  EXPECT_EQ(1000003u, o.out.size() + o.exit->at("dropped_bytes").get<std::size_t>());
  EXPECT_GT(o.exit->at("dropped_bytes").get<int>(), 0);
  EXPECT_EQ("end", o.out.substr(o.out.size() - 3));
}

TEST_F(agent_exec, a_killed_agent_ends_everything_with_an_error_and_no_exit) {
  const auto p = start({{"command", "echo up; sleep 30"}});
  auto first = run(p->next());
  ASSERT_TRUE(first && *first);
  end_agent(SIGKILL);
  auto next = run(p->next(), 3s);
  ASSERT_FALSE(next);
  EXPECT_EQ(errc::unavailable, next.error().code);
  EXPECT_EQ("sandbox_lost", next.error().reason);
  EXPECT_EQ("sandbox_lost", ask("ping").error().reason);
  EXPECT_EQ("sandbox_lost", run(client().wait_lost()).reason);
}

TEST_F(agent_exec, a_silent_agent_is_lost_after_two_heartbeats) {
  relaunch({"--heartbeat-interval", "50ms"});
  const auto p = start({{"argv", {"sleep", "30"}}});
  ::kill(agent_, SIGSTOP);
  EXPECT_EQ("sandbox_lost", run(p->next(), 3s).error().reason);
  ::kill(agent_, SIGCONT);
}

TEST_F(agent_exec, pushes_heartbeats_and_exits) {
  relaunch({"--heartbeat-interval", "50ms"});
  std::map<std::string, int> seen;
  client().on_notice([&](std::string type, json) { ++seen[type]; });
  exec({{"argv", {"true"}}});
  context_.restart();
  context_.run_for(300ms);
  EXPECT_GE(seen["heartbeat"], 2);
  EXPECT_EQ(1, seen["process_exit"]);
}

TEST_F(agent_exec, shutdown_ends_processes_and_the_agent) {
  const std::string nap = odd_sleep();
  start({{"command", "trap '' TERM; setsid sleep " + nap + " & sleep " + nap}});
  ASSERT_TRUE(ask("shutdown", {{"grace_ms", 100}}));
  int status = 0;
  ASSERT_TRUE(eventually([&] { return ::waitpid(agent_, &status, WNOHANG) == agent_; }));
  agent_ = 0;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(eventually([&] { return count_processes_with(nap) == 0; }));
}

TEST_F(agent_exec, hundreds_of_processes_at_once_all_end_with_their_own_code) {
  std::vector<std::shared_ptr<agent_process>> all;
  for (int i = 0; i < 200; ++i) all.push_back(start({{"argv", {"sh", "-c", "exit " + std::to_string(i)}}}));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(i, run(read_all(all[static_cast<std::size_t>(i)])).exit->at("exit_code"));
}

}  // namespace
}  // namespace caged::test
