// A real caged-agent process and the host's client connected to it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <boost/asio.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "core/sandbox/agent_client.hpp"

namespace caged::test {

using namespace std::chrono_literals;
using sandbox::agent_client;
using sandbox::agent_process;
using sandbox::process_item;

// Starts the program with `args`; a number given as "{fd}" in them becomes the descriptor `pass`.
inline pid_t start_program(std::vector<std::string> args, int pass) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (pass >= 0) ::fcntl(pass, F_SETFD, 0);
    std::vector<char*> argv;
    for (std::string& a : args) {
      if (a == "{fd}") a = std::to_string(pass);
      argv.push_back(a.data());
    }
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  return pid;
}

struct output {
  std::string out, err;
  std::optional<json> exit;
  std::optional<error> failure;
};

// Reads a process to its end.
inline asio::awaitable<output> read_all(std::shared_ptr<agent_process> p) {
  output o;
  for (;;) {
    auto item = co_await p->next();
    if (!item) {
      o.failure = item.error();
      co_return o;
    }
    if (!*item) co_return o;
    if ((*item)->what == process_item::kind::exit)
      o.exit = (*item)->exit;
    else
      ((*item)->what == process_item::kind::err ? o.err : o.out) += (*item)->data;
  }
}

class agent_fixture : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/caged-agent-test-XXXXXX";
    folder_ = ::mkdtemp(name);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder_.c_str());
    ASSERT_EQ(0, ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address));
    ASSERT_EQ(0, ::listen(listener_, 8));
    std::filesystem::create_directory(folder_ + "/ws");
    launch({});
  }

  void launch(std::vector<std::string> more) {
    std::vector<std::string> args{CAGED_AGENT_PROGRAM, "--listen-fd", "{fd}", "--workspace",
                                  folder_ + "/ws",     "--log-level", "error"};
    args.insert(args.end(), more.begin(), more.end());
    agent_ = start_program(args, listener_);
  }

  void relaunch(std::vector<std::string> more) {
    end_agent(SIGTERM);
    launch(std::move(more));
  }

  void end_agent(int signal) {
    if (agent_ <= 0) return;
    ::kill(agent_, signal);
    ::waitpid(agent_, nullptr, 0);
    agent_ = 0;
  }

  void TearDown() override {
    client_.reset();
    context_.restart();
    context_.run_for(50ms);
    end_agent(SIGTERM);
    ::close(listener_);
    std::filesystem::remove_all(folder_);
  }

  // Runs a coroutine to its end; a test that takes longer than `limit` fails instead of hanging.
  template <class T>
  T run(asio::awaitable<T> work, std::chrono::milliseconds limit = 20s) {
    std::optional<T> value;
    std::exception_ptr thrown;
    asio::co_spawn(context_, std::move(work), [&](std::exception_ptr e, T v) {
      thrown = e;
      if (!e) value.emplace(std::move(v));
    });
    const auto deadline = std::chrono::steady_clock::now() + limit;
    context_.restart();
    while (!value && !thrown && std::chrono::steady_clock::now() < deadline) {
      context_.run_one_for(100ms);
      if (context_.stopped()) context_.restart();
    }
    if (thrown) std::rethrow_exception(thrown);
    if (!value) throw std::runtime_error("the deadline of the test's coroutine has passed");
    return std::move(*value);
  }

  std::shared_ptr<agent_client> connect() {
    box_stream stream(context_);
    asio::local::stream_protocol::endpoint endpoint(folder_ + "/socket");
    stream.connect(endpoint);
    auto opened = run(agent_client::open(context_.get_executor(), std::move(stream)));
    if (!opened) throw std::runtime_error(describe(opened.error()));
    return *opened;
  }

  agent_client& client() {
    if (!client_) client_ = connect();
    return *client_;
  }

  std::shared_ptr<agent_process> start(json args, std::string operation = "exec.start") {
    auto p = run(client().start(std::move(operation), std::move(args)));
    if (!p) throw std::runtime_error(describe(p.error()));
    return *p;
  }

  output exec(json args) { return run(read_all(start(std::move(args)))); }

  result<json> ask(std::string operation, json args = json::object()) {
    return run(client().request(std::move(operation), std::move(args)));
  }

  std::string ws(const std::string& name) const { return folder_ + "/ws/" + name; }

  asio::io_context context_;
  std::string folder_;
  int listener_ = -1;
  pid_t agent_ = 0;
  std::shared_ptr<agent_client> client_;
};

// Looks until `done` holds or the time is up.
template <class Condition>
bool eventually(Condition done, std::chrono::milliseconds limit = 5s) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::usleep(10000);
  }
  return true;
}

}  // namespace caged::test
