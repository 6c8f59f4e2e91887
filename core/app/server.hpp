// All parts of a running host, in the order in which they depend on each other.
#pragma once

#include <caged/http_front.hpp>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/base/instance_lock.hpp"
#include "core/config/host_config.hpp"
#include "core/journal/journal.hpp"
#include "core/judgement/alerts.hpp"
#include "core/judgement/judge.hpp"
#include "core/meter/reporter.hpp"
#include "core/operation/families.hpp"
#include "core/plugin/plugin_host.hpp"
#include "core/runtime/loop.hpp"
#include "core/sandbox/preview_gate.hpp"
#include "core/sandbox/purse.hpp"
#include "core/sandbox/vault.hpp"

namespace caged::app {

// Passes facts on once there is a journal; plugins may hold it before.
class late_sink : public event_sink {
 public:
  void connect(journal::journal* j) { journal_ = j; }
  void publish(event e) override {
    if (auto* j = journal_.load()) j->publish(std::move(e));
  }

 private:
  std::atomic<journal::journal*> journal_ = nullptr;
};

// What is done from time to time: usage is handed to billing, and what may be forgotten is. On the loop thread.
class housekeeping {
 public:
  struct parts {
    asio::any_io_executor executor;
    const config::host_config* config = nullptr;
    sandbox::manager* sandboxes = nullptr;
    meter::reporter* reporter = nullptr;
    journal::journal* journal = nullptr;
    journal::sessions* sessions = nullptr;
    storage* records = nullptr;
    std::function<void(log_level, std::string)> log;
  };
  explicit housekeeping(parts p);
  asio::awaitable<void> start();
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> bill();
  asio::awaitable<void> forget();
  task<void> forget_events();
  task<void> forget_beyond();
  task<void> forget_destroyed();
  task<void> forget_sandbox(std::string id);

  parts parts_;
  runtime::scope work_;
  std::set<std::string> cut_;  // ended sessions whose events are dropped already
};

// Used by one thread, which is not the loop's. start() undone by stop(), also after a failed start.
class server {
 public:
  server(const config::host_config& config, std::filesystem::path program);
  ~server();

  result<void> start();
  void stop();
  // Where it listens, "http://127.0.0.1:8080".
  const std::string& address() const noexcept { return address_; }
  bool made_first_key() const noexcept { return made_first_key_; }
  std::filesystem::path first_key() const { return config_.data / "admin.key"; }

 private:
  result<void> load_plugins();
  result<void> open_network();
  result<void> open_parts();
  void open_judge(storage& records);
  void open_billing();
  result<void> listen();
  result<void> announce();
  // Runs a task on the loop and waits for it.
  template <class T>
  result<T> wait(task<T> work);

  const config::host_config config_;
  const std::filesystem::path program_;
  std::optional<base::instance_lock> lock_;
  runtime::loop loop_;
  std::shared_ptr<http::server> http_;
  operation::registry operations_;
  late_sink sink_;
  sandbox::purse_keeper purses_;
  sandbox::vault secrets_;
  sandbox::preview_gate previews_;
  std::unique_ptr<plugins::plugin_host> plugins_;
  std::unique_ptr<journal::journal> journal_;
  std::unique_ptr<journal::sessions> sessions_;
  std::unique_ptr<operation::auth> keys_;
  std::unique_ptr<network::egress> network_;
  std::unique_ptr<sandbox::manager> sandboxes_;
  std::unique_ptr<judgement::judge> judge_;
  std::unique_ptr<judgement::alerts> alerts_;
  meter::reporter reporter_;
  std::unique_ptr<housekeeping> housekeeping_;
  operation::services services_;
  std::string address_;
  bool made_first_key_ = false;
};

}  // namespace caged::app
