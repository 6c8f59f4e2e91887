// What the jail's tests share: a host, a way to await tasks, a box to run commands in, counters of leftovers.
#pragma once

#include "backend.hpp"

#include <gtest/gtest.h>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <caged/event.hpp>
#include <condition_variable>
#include <filesystem>
#include <string>
#include <thread>

namespace caged::vmm::jail::testing {

// A folder that is gone at the end, and the parts of a host the jail needs.
class test_host final : public host {
 public:
  // `folder`: data folder to use and to leave; empty: a fresh one, removed at the end.
  explicit test_host(std::filesystem::path folder = {});
  ~test_host() override;

  asio::any_io_executor executor() override { return loop_.get_executor(); }
  asio::any_io_executor blocking_executor() override { return pool_.get_executor(); }
  void log(log_level, std::string_view message) override;
  std::filesystem::path data_dir() const override { return data_; }
  std::filesystem::path program_dir() const override;
  void* find_service(std::string_view name) noexcept override {
    return name == event_sink::interface_name ? &facts_ : nullptr;
  }

  // Runs the task on the loop; fails the program loudly after a minute.
  template <class T>
  result<T> await(task<T> work) {
    auto out = std::make_shared<std::optional<result<T>>>();
    auto done = asio::co_spawn(loop_, keep(std::move(work), out), asio::use_future);
    if (done.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
      throw std::runtime_error("a task of the jail hangs");
    done.get();
    return std::move(**out);
  }
  std::string logged() const;
  // What the backend has told so far that `wanted` likes; waits until there are `count` of them, at most ten seconds.
  std::vector<event> facts(const std::function<bool(const event&)>& wanted, std::size_t count = 1);

 private:
  struct collected : event_sink {
    void publish(event e) override {
      const std::lock_guard lock(guard);
      all.push_back(std::move(e));
      changed.notify_all();
    }
    std::mutex guard;
    std::condition_variable changed;
    std::vector<event> all;
  };
  template <class T>
  static asio::awaitable<void> keep(task<T> work, std::shared_ptr<std::optional<result<T>>> out) {
    out->emplace(co_await std::move(work));
  }

  bool own_;
  std::filesystem::path data_;
  asio::io_context loop_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::thread_pool pool_{4};
  std::thread thread_;
  mutable std::mutex guard_;
  std::string log_;
  collected facts_;
};

// The jail with the tests' stand-in for the agent, open.
json test_config(json more = json::object());

struct command_result {
  std::string output;
  int status = -1;  // wait status; -1: the connection ended first
  int exit_code() const { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
};

// Runs `sh -c command` inside.
result<command_result> run_in(test_host& h, vmm_backend& jail, const std::string& id, const std::string& command,
                              std::chrono::seconds deadline = std::chrono::seconds(20));

box_spec small_box(const std::string& id);
// Accepts missing cgroups where this process cannot have them (an ordinary user without delegation).
void accept_what_lacks(box_spec& spec);

// A jail that the tests of one suite share: preparing the template once is enough.
class shared_jail : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void TearDown() override;  // destroys what the test made

  static box_info make(box_spec spec);
  static std::string output(const std::string& id, const std::string& command);

  static std::unique_ptr<test_host> host_;
  static std::unique_ptr<backend> jail_;
  static std::vector<std::string> made_;
};

// Another process that runs until it is killed; says "ready" on its standard output first.
class child_program {
 public:
  explicit child_program(const std::vector<std::string>& argv);
  ~child_program();
  bool wait_ready();
  void kill_hard();
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

// The process that observes the boxes of the host on this folder; 0 when there is none.
pid_t witness_of(const std::filesystem::path& data);

// Runs this test program again, as user "nobody", with the filter. Empty when all passed; else what was printed.
std::string run_as_ordinary_user(const std::string& filter);

// Things of which none may be left over.
struct leftovers {
  std::size_t descriptors = 0, mounts = 0, children = 0, cgroups = 0, files = 0;
  friend bool operator==(const leftovers&, const leftovers&) = default;
};
leftovers count_leftovers(const std::filesystem::path& data);
std::ostream& operator<<(std::ostream& out, const leftovers& l);

}  // namespace caged::vmm::jail::testing
