// A host for the unit tests of a plugin: a real loop and pool, a data folder that is removed, and simple services.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <caged/event.hpp>
#include <caged/host.hpp>
#include <caged/http.hpp>
#include <caged/operation.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace caged::testing {

// An operation registry that checks what it is given as the real one does: names are new, schemas compile, arguments
// fit before a handler is called, the caller's scope is enough.
class fake_operations : public operations {
 public:
  static constexpr std::string_view full_key = "caged_sk_test_full";
  static constexpr std::string_view read_key = "caged_sk_test_read";
  static constexpr std::string_view ticket = "caged_wst_test";  // good once

  std::vector<const operation_info*> list() const override;
  const operation_info* find(std::string_view name) const override;
  task<caller> authenticate(std::string credential) override;
  task<caller> redeem_ticket(std::string ticket) override;
  task<reply> invoke(call c) override;
  result<void> add(operation_info info, operation_handler handler) override;
  // Forgets everything; no plugin may be open.
  void clear();

 private:
  struct entry {
    operation_info info;
    operation_handler handler;
  };
  mutable std::mutex mutex_;
  std::deque<entry> entries_;
  bool ticket_used_ = false;
};

// Keeps every event.
class fake_events : public event_sink {
 public:
  void publish(event e) override;
  std::vector<event> all() const;

 private:
  mutable std::mutex mutex_;
  std::vector<event> events_;
};

// Routes without a socket: request() calls the handler that the longest prefix chooses.
class fake_front : public http::front {
 public:
  result<void> route(std::string host_suffix, std::string path_prefix, http::handler h) override;
  void unroute(std::string_view host_suffix, std::string_view path_prefix) override;
  std::vector<std::string> addresses() const override { return {"http://127.0.0.1:1"}; }
  bool origin_allowed(std::string_view origin, std::string_view request_host) const override;

  // "host_suffix path_prefix" of each route.
  std::vector<std::string> routes() const;
  struct answer {
    http::response response;
    int answers = 0;        // how often the handler answered; 1 is right
    std::string exception;  // what the handler threw
  };
  // Runs on the current coroutine's executor. `target` is raw; host is "127.0.0.1".
  asio::awaitable<answer> request(std::string method, std::string target, http::headers fields, std::string body);

 private:
  http::handler choose(const std::string& path) const;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, http::handler> routes_;
};

// Construct one per test. Its services are found by interface_name; others can be added.
class fake_host : public host {
 public:
  fake_host();
  ~fake_host() override;

  asio::any_io_executor executor() override;
  asio::any_io_executor blocking_executor() override;
  void log(log_level level, std::string_view message) override;
  std::filesystem::path data_dir() const override;     // exists, empty, removed with the host
  std::filesystem::path program_dir() const override;  // where this program lies
  void* find_service(std::string_view name) noexcept override;

  fake_operations& registry();
  fake_events& events();
  fake_front& front();
  std::string logged() const;
  template <class Interface>
  void add_service(Interface* service) {
    add_service(std::string(Interface::interface_name), service);
  }
  void add_service(std::string name, void* service);

  // Runs the coroutine on the loop and waits for it, at most `deadline`; then the error is deadline_exceeded.
  template <class T>
  result<T> run(task<T> work, std::chrono::milliseconds deadline = std::chrono::seconds(10)) {
    auto pending = asio::co_spawn(executor(), std::move(work), asio::use_future);
    if (pending.wait_for(deadline) == std::future_status::ready) return pending.get();
    return fail(errc::deadline_exceeded, "no_answer", "no answer within " + std::to_string(deadline.count()) + " ms");
  }

 private:
  struct parts;
  std::unique_ptr<parts> parts_;
};

}  // namespace caged::testing
