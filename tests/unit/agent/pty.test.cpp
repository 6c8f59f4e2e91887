// Terminals over the wire, and the size of the agent itself.
#include "tests/unit/agent/agent_fixture.hpp"

namespace caged::test {
namespace {

class agent_pty : public agent_fixture {
 protected:
  // Reads until `mark` has come.
  static asio::awaitable<std::string> until(std::shared_ptr<agent_process> p, std::string mark) {
    std::string text;
    while (text.find(mark) == std::string::npos) {
      auto item = co_await p->next();
      if (!item || !*item || (*item)->what == process_item::kind::exit) co_return text + "<ended>";
      text += (*item)->data;
    }
    co_return text;
  }
  bool type(const std::shared_ptr<agent_process>& p, std::string text) {
    return static_cast<bool>(run(sent(p, std::move(text))));
  }
  static asio::awaitable<result<int>> sent(std::shared_ptr<agent_process> p, std::string text) {
    auto done = co_await p->write_stdin(std::move(text));
    if (!done) co_return done.error();
    co_return 0;
  }
  static asio::awaitable<result<int>> resized(std::shared_ptr<agent_process> p, int columns, int rows) {
    auto done = co_await p->resize(columns, rows);
    if (!done) co_return done.error();
    co_return 0;
  }
};

TEST_F(agent_pty, refuses_impossible_sizes) {
  EXPECT_EQ("/cols", run(client().start("pty.start", {{"cols", 0}})).error().path);
  EXPECT_EQ("/rows", run(client().start("pty.start", {{"rows", 100000}})).error().path);
  const auto p = start({{"argv", {"sleep", "1"}}});
  EXPECT_EQ("no_terminal", run(resized(p, 80, 24)).error().reason);
}

TEST_F(agent_pty, is_a_controlling_terminal_of_the_size_asked_for) {
  const auto p = start(
      {{"command", "tty; stty size; read x; stty size; echo $TERM; exit 9"}, {"cols", 101}, {"rows", 37}}, "pty.start");
  EXPECT_NE(std::string::npos, run(until(p, "37 101")).find("/dev/pts/"));
  EXPECT_TRUE(run(resized(p, 90, 40)));
  EXPECT_TRUE(type(p, "\n"));
  const output o = run(read_all(p));
  EXPECT_NE(std::string::npos, o.out.find("40 90")) << o.out;
  EXPECT_NE(std::string::npos, o.out.find("xterm-256color")) << o.out;
  EXPECT_EQ(9, o.exit->at("exit_code"));
}

TEST_F(agent_pty, control_c_interrupts_and_control_d_ends) {
  const auto p = start({{"command", "trap 'echo interrupted' INT; cat; cat; echo ended"}}, "pty.start");
  ::usleep(200000);
  EXPECT_TRUE(type(p, "\x03"));
  EXPECT_EQ(std::string::npos, run(until(p, "interrupted")).find("<ended>"));
  ::usleep(100000);
  EXPECT_TRUE(type(p, "\x04"));
  EXPECT_NE(std::string::npos, run(read_all(p)).out.find("ended"));
}

TEST_F(agent_pty, carries_all_256_byte_values_both_ways) {
  const auto p = start({{"command", "stty raw -echo; echo ready; head -c 256; sleep 0.1"}}, "pty.start");
  run(until(p, "ready\n"));
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_TRUE(type(p, all));
  EXPECT_EQ(all, run(read_all(p)).out);
}

TEST_F(agent_pty, survives_its_connection_and_replays_the_scrollback) {
  const auto p = start({{"command", "echo first; read x; echo got $x; exit 4"}}, "pty.start");
  const std::string id = p->id();
  run(until(p, "first"));
  client_.reset();
  auto again = run(client().attach(id));
  ASSERT_TRUE(again);
  EXPECT_NE(std::string::npos, run(until(*again, "first")).find("first"));
  EXPECT_TRUE(type(*again, "hello\n"));
  const output o = run(read_all(*again));
  EXPECT_NE(std::string::npos, o.out.find("got hello"));
  EXPECT_EQ(4, o.exit->at("exit_code"));
}

TEST_F(agent_pty, loses_no_byte_of_a_flood) {
  const auto p = start({{"command", "stty raw; head -c 3000000 /dev/zero"}}, "pty.start");
  EXPECT_EQ(3000000u, run(read_all(p)).out.size());
}

int kilobytes(pid_t pid, const std::string& label) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(label, 0) == 0) return std::atoi(line.c_str() + label.size());
  return -1;
}

TEST_F(agent_pty, the_agent_is_small) {
  const auto size = std::filesystem::file_size(CAGED_AGENT_PROGRAM);
  for (int i = 0; i < 5; ++i) exec({{"command", "echo hello; ls / >/dev/null"}});
  ASSERT_TRUE(ask("file.search", {{"pattern", "x"}}));
  // It gives back what it does not need when a second has gone by without work.
  context_.restart();
  context_.run_for(1500ms);
  const int resident = kilobytes(agent_, "VmRSS:"), own = kilobytes(agent_, "RssAnon:");
  std::cout << "caged-agent: " << size << " bytes, " << resident << " KiB resident, " << own << " KiB its own\n";
  if (std::string(CAGED_BUILD_DIR).find("san") != std::string::npos)
    GTEST_SKIP() << "NOT RUN: sanitized builds are bigger";
  EXPECT_LE(size, 2u << 20);
  EXPECT_GT(resident, 0);
  EXPECT_LE(resident, 1536);
}

TEST_F(agent_pty, tells_ports_that_open_and_close) {
  std::map<std::string, json> seen;
  client().on_notice([&](std::string type, json data) {
    if (type.rfind("port_", 0) == 0) seen[type + data.value("port", json(0)).dump()] = data;
  });
  asio::ip::tcp::acceptor acceptor(context_, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const std::string port = std::to_string(acceptor.local_endpoint().port());
  bool listed = false;
  const auto answer = ask("ports.list");
  for (const json& row : answer->at("ports"))
    listed = listed || (row.at("port").dump() == port && row.at("address") == "127.0.0.1");
  EXPECT_TRUE(listed);
  const auto wait_for = [&](const std::string& key) {
    for (int i = 0; i < 50 && seen.count(key) == 0; ++i) {
      context_.restart();
      context_.run_for(100ms);
    }
    return seen.count(key) != 0;
  };
  EXPECT_TRUE(wait_for("port_opened" + port));
  acceptor.close();
  EXPECT_TRUE(wait_for("port_closed" + port));
}

}  // namespace
}  // namespace caged::test
