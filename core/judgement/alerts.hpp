// Alerts: rules that read the journal, alerts that stay open until somebody resolves them, and channels that tell people.
#pragma once

#include <caged/streams.hpp>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "core/journal/journal.hpp"
#include "core/runtime/scope.hpp"

namespace caged::judgement {

// On the loop thread; delivering blocks a thread of the pool.
class alerts {
 public:
  struct parts {
    asio::any_io_executor executor, blocking;
    journal::journal* journal = nullptr;
    storage* records = nullptr;
    std::function<void(log_level, std::string)> log;
  };
  explicit alerts(parts p);

  // Reads rules, channels and what is open; deliveries that were under way go on.
  task<void> start();
  asio::awaitable<void> stop();

  // {alerts, total, limit, offset}, newest first.
  json page(std::size_t limit, std::size_t offset) const;
  result<json> get(const std::string& id) const;
  task<void> resolve(std::string id);
  json rules() const;
  task<json> update_rule(std::string id, json patch);  // {enabled?, config?}
  // Secrets are shown as "…configured" and a hint only; "__clear__" takes a URL away.
  json channels() const;
  task<json> update_channels(json patch);
  // Those that could not be delivered and are given up, and those under way.
  json deliveries() const;

 private:
  struct watched {
    std::deque<std::int64_t> errors;                             // times
    std::deque<std::pair<std::int64_t, std::int64_t>> spending;  // time, micro-dollars
    std::set<std::string> commands;                              // under way
    std::int64_t last_us = 0;
  };
  asio::awaitable<void> read();
  asio::awaitable<void> clock();
  task<void> look_at(const event e);
  task<void> raise(std::string rule_type, std::string severity, std::string title, std::string message, const event about);
  task<void> save(std::string kind, std::string id, json body);
  asio::awaitable<void> deliver(std::string id);
  const json* rule(const std::string& type) const;  // null when it is off
  double setting(const std::string& type, const char* key) const;

  parts parts_;
  std::map<std::string, json> alerts_, rules_, deliveries_;
  std::vector<std::string> order_;  // ids of alerts, oldest first
  json channels_ = json::object();
  std::map<std::string, watched> sandboxes_;
  runtime::scope work_;
};

}  // namespace caged::judgement
