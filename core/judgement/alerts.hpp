// Alerts: rules that read the journal, alerts that stay open until somebody resolves them, and channels that tell people.
#pragma once

#include <caged/streams.hpp>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "core/journal/journal.hpp"
#include "core/judgement/delivery.hpp"
#include "core/judgement/mail.hpp"
#include "core/runtime/scope.hpp"

namespace caged::judgement {

// On the loop thread; delivering blocks a thread of the pool.
class alerts {
 public:
  struct parts {
    asio::any_io_executor executor, blocking;
    journal::journal* journal = nullptr;
    storage* records = nullptr;
    mail_server mail;
    std::function<void(log_level, std::string)> log;
  };
  explicit alerts(parts p);

  // Reads rules, channels and what is open; deliveries that were under way go on.
  task<void> start();
  asio::awaitable<void> stop();

  // {alerts, total, limit, offset}, newest first.
  json page(std::size_t limit, std::size_t offset) const;
  result<json> get(const std::string& id) const;
  // resolved: it is over, and comes anew when its cause does. muted: it is not over, but nobody wants to hear of it.
  task<void> become(std::string id, std::string state);
  json rules() const;
  task<json> update_rule(std::string id, json patch);  // {enabled?, config?}
  // Secrets are shown as "…configured" and a hint only; "__clear__" takes a URL away.
  json channels() const;
  task<json> update_channels(json patch);
  // Those that could not be delivered and are given up ("dead"), and those under way.
  json deliveries() const;
  // A dead letter is tried again from the start.
  task<void> retry(std::string delivery_id);
  // What was told inside: one for each alert, newest first; {notifications, unread_count}.
  json notifications(std::size_t limit, std::size_t offset, std::string_view which) const;  // which: all, unread
  std::size_t unread() const;
  task<void> mark_read(std::string id);  // "" = all

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
  static write put(std::string kind, std::string id, json body);
  static write erase(std::string kind, std::string id);
  // alerts_channels.cpp
  void notify(const json& alert, std::vector<write>& writes);
  std::vector<std::string> address(const json& alert, std::vector<write>& writes);
  bool reaches(const std::string& channel) const;
  std::function<result<void>()> sender(const std::string& channel, const std::string& id, const json& alert) const;
  asio::awaitable<void> deliver(std::string id);
  const json* rule(const std::string& type) const;  // null when it is off
  double setting(const std::string& type, const char* key) const;

  parts parts_;
  std::map<std::string, json> alerts_, rules_, deliveries_, notifications_;
  std::vector<std::string> order_;  // ids of alerts, oldest first
  std::vector<std::string> told_;   // ids of notifications, oldest first
  json channels_ = json::object();
  std::map<std::string, watched> sandboxes_;
  runtime::scope work_;
};

}  // namespace caged::judgement
