#include "core/judgement/alerts.hpp"

#include <caged/random.hpp>

#include "core/base/time.hpp"
#include "core/judgement/delivery.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/loop.hpp"

namespace caged::judgement {
namespace {

constexpr std::int64_t minute_us = 60'000'000;
constexpr std::size_t most_alerts = 10'000;

json rule_row(const char* type, json config) {
  return {{"id", std::string("rule-") + type}, {"account_id", "local"}, {"type", type},
          {"enabled", true}, {"config", std::move(config)}, {"created_at", base::format_time(0)}};
}

}  // namespace

alerts::alerts(parts p)
    : parts_(std::move(p)), work_(parts_.executor, [this](std::string_view name, std::string_view what) {
        parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
      }) {
  for (json row : {rule_row("budget_exceeded", {{"threshold_percent", 80}}), rule_row("cost_anomaly", {{"multiplier_threshold", 5}}),
                   rule_row("agent_stuck", {{"idle_minutes", 15}}),
                   rule_row("error_spike", {{"error_count_threshold", 10}, {"window_minutes", 5}}),
                   rule_row("trust_score_low", {{"score_threshold", 70}}), rule_row("sandbox_error", json::object()),
                   rule_row("idle_timeout", json::object())})
    rules_[row["id"].get<std::string>()] = row;
}

task<void> alerts::save(std::string kind, std::string id, json body) {
  batch b;
  b.writes.push_back(put(std::move(kind), std::move(id), std::move(body)));
  co_return co_await parts_.records->commit(std::move(b));
}

task<void> alerts::start() {
  const std::map<std::string, std::map<std::string, json>*> kinds{
      {"alert", &alerts_}, {"alert_rule", &rules_}, {"alert_delivery", &deliveries_}, {"notification", &notifications_}};
  for (const auto& [kind, all] : kinds) {
    std::string after;
    while (true) {
      auto page = co_await parts_.records->list(kind, after, 1000);
      if (!page) co_return page.error();
      for (auto& r : *page) {
        after = r.id;
        (*all)[r.id] = std::move(r.body);
      }
      if (page->size() < 1000) break;
    }
  }
  auto channels = co_await parts_.records->get("alert_channels", "all");
  if (!channels) co_return channels.error();
  if (*channels) channels_ = (**channels).body;
  for (const auto& [id, row] : alerts_) order_.push_back(id);
  std::sort(order_.begin(), order_.end(), [this](const auto& a, const auto& b) {
    return alerts_[a].value("created_at", "") < alerts_[b].value("created_at", "");
  });
  for (const auto& [id, row] : notifications_) told_.push_back(id);
  std::sort(told_.begin(), told_.end(), [this](const auto& a, const auto& b) {
    return notifications_[a].value("created_at", "") < notifications_[b].value("created_at", "");
  });
  work_.spawn("alert rules", read());
  work_.spawn("alert clock", clock());
  for (const auto& [id, row] : deliveries_)
    if (row.value("state", "") == "pending") work_.spawn("delivery of an alert", deliver(id));
  co_return result<void>{};
}

asio::awaitable<void> alerts::stop() {
  work_.cancel();
  co_await work_.join();
}

const json* alerts::rule(const std::string& type) const {
  const auto found = rules_.find("rule-" + type);
  return found != rules_.end() && found->second.value("enabled", false) ? &found->second : nullptr;
}

double alerts::setting(const std::string& type, const char* key) const {
  const json* r = rule(type);
  return r && r->contains("config") ? (*r)["config"].value(key, 0.0) : 0.0;
}

asio::awaitable<void> alerts::read() {
  journal::follow_query q;
  q.types = {"alert", "trust", "error", "lifecycle", "command", "llm_call", "policy_error"};
  auto facts = parts_.journal->read_on(std::move(q));
  while (true) {
    auto e = co_await facts->next_event();
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    if (!e) {
      co_await runtime::sleep_for(std::chrono::seconds(1));
      continue;
    }
    if (!*e) co_return;
    if ((**e).sandbox_id.empty()) continue;
    const event fact = std::move(**e);
    if (auto looked = co_await look_at(fact); !looked)
      parts_.log(log_level::error, "an alert could not be stored: " + describe(looked.error()));
  }
}

task<void> alerts::look_at(const event e) {
  watched& w = sandboxes_[e.sandbox_id];
  w.last_us = e.time_us;
  const json& d = e.data;
  if (e.type == "alert") {
    const double percent = d.value("percent", 0.0);
    if (!rule("budget_exceeded") || percent < setting("budget_exceeded", "threshold_percent")) co_return result<void>{};
    const std::string text = std::to_string(static_cast<int>(percent)) + " % of the budget is spent";
    co_return co_await raise("budget_exceeded", percent >= 100 || percent >= 95 ? "critical" : "warning", d.value("kind", "budget_warning"), text, e);
  }
  if (e.type == "trust" && rule("trust_score_low")) {
    const int score = d.value("score", 100);
    if (score >= setting("trust_score_low", "score_threshold")) co_return result<void>{};
    co_return co_await raise("trust_score_low", score < 50 ? "critical" : "warning", score < 50 ? "trust_critical" : "trust_low",
                             "the trust score is " + std::to_string(score) + ": " + d.value("reason", ""), e);
  }
  if (e.type == "lifecycle") {
    if (d.value("to", "") == "destroyed") sandboxes_.erase(e.sandbox_id);
    if (d.value("to", "") == "error" && rule("sandbox_error"))
      co_return co_await raise("sandbox_error", "critical", "sandbox_error", "the sandbox failed: " + d.value("message", d.value("reason", "")), e);
    if (d.value("phase", "") == "idle" && rule("idle_timeout"))
      co_return co_await raise("idle_timeout", "info", "idle_timeout", "the sandbox was idle and is paused", e);
  }
  if (e.type == "command" && d.contains("process") && d["process"].is_string()) {
    if (d.value("phase", "") == "started") w.commands.insert(d["process"].get<std::string>());
    if (d.value("phase", "") == "finished") w.commands.erase(d["process"].get<std::string>());
  }
  if ((e.type == "error" || e.type == "policy_error") && rule("error_spike")) {
    const auto window = static_cast<std::int64_t>(setting("error_spike", "window_minutes") * minute_us);
    w.errors.push_back(e.time_us);
    while (!w.errors.empty() && w.errors.front() < e.time_us - window) w.errors.pop_front();
    if (static_cast<double>(w.errors.size()) >= setting("error_spike", "error_count_threshold")) {
      const std::string text = std::to_string(w.errors.size()) + " errors within " + std::to_string(window / minute_us) + " minutes";
      w.errors.clear();
      co_return co_await raise("error_spike", "warning", "error_spike", text, e);
    }
  }
  if (e.type == "llm_call" && !d.value("reported", false) && rule("cost_anomaly")) {
    w.spending.emplace_back(e.time_us, d.value("cost_micros", std::int64_t{0}));
    while (!w.spending.empty() && w.spending.front().first < e.time_us - 60 * minute_us) w.spending.pop_front();
    std::int64_t recent = 0, before = 0;
    for (const auto& [time, micros] : w.spending) (time > e.time_us - 5 * minute_us ? recent : before) += micros;
    const std::int64_t span = e.time_us - 5 * minute_us - w.spending.front().first;
    const double usual = span > 5 * minute_us ? static_cast<double>(before) * 5 * minute_us / static_cast<double>(span) : 0;
    if (usual > 0 && recent > 10'000 && static_cast<double>(recent) > usual * setting("cost_anomaly", "multiplier_threshold"))
      co_return co_await raise("cost_anomaly", "warning", "cost_anomaly", "five minutes cost " + std::to_string(recent) + " micro-dollars, usual are " +
                               std::to_string(static_cast<std::int64_t>(usual)), e);
  }
  co_return result<void>{};
}

asio::awaitable<void> alerts::clock() {
  while (true) {
    co_await runtime::sleep_for(std::chrono::seconds(10));
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    if (!rule("agent_stuck")) continue;
    const auto limit = static_cast<std::int64_t>(setting("agent_stuck", "idle_minutes") * minute_us);
    std::vector<event> stuck;
    for (auto& [id, w] : sandboxes_) {
      if (w.commands.empty() || w.last_us == 0 || base::now_us() - w.last_us < limit) continue;
      w.last_us = base::now_us();
      event about;
      about.sandbox_id = id;
      about.session_id = parts_.journal->current_session(id);
      about.time_us = w.last_us;
      stuck.push_back(std::move(about));
    }
    for (const auto& about : stuck)
      (void)co_await raise("agent_stuck", "warning", "agent_stuck", "a command runs, and nothing has happened for long", about);
  }
}

task<void> alerts::raise(std::string rule_type, std::string severity, std::string title, std::string message, const event about) {
  // One open or muted alert for one cause: what repeats is not told again.
  for (const auto& [id, a] : alerts_)
    if (a["state"] != "resolved" && a["rule_type"] == rule_type && a["sandbox_id"] == about.sandbox_id && a["severity"] == severity && a["title"] == title)
      co_return result<void>{};
  json row{{"id", random_id("alert-", 12)}, {"account_id", "local"}, {"rule_id", "rule-" + rule_type}, {"rule_type", rule_type},
           {"severity", severity}, {"state", "open"}, {"title", title}, {"message", message},
           {"sandbox_id", about.sandbox_id}, {"session_id", about.session_id},
           {"meta", {{"event_id", about.id}, {"sequence", about.sequence}}},
           {"created_at", base::format_time(base::now_us())}, {"resolved_at", nullptr}};
  const std::string id = row["id"].get<std::string>();
  alerts_[id] = row;
  order_.push_back(id);
  std::vector<write> writes;
  writes.push_back(put("alert", id, row));
  if (order_.size() > most_alerts) {
    writes.push_back(erase("alert", order_.front()));
    alerts_.erase(order_.front());
    order_.erase(order_.begin());
  }
  notify(row, writes);
  const auto deliveries = address(row, writes);
  batch b;
  b.writes = std::move(writes);
  if (auto saved = co_await parts_.records->commit(std::move(b)); !saved) co_return saved.error();
  for (const auto& delivery : deliveries) work_.spawn("delivery of an alert", deliver(delivery));
  co_return result<void>{};
}

json alerts::page(std::size_t limit, std::size_t offset) const {
  json rows = json::array();
  for (std::size_t i = offset; i < order_.size() && rows.size() < limit; ++i) rows.push_back(alerts_.at(order_[order_.size() - 1 - i]));
  return {{"alerts", std::move(rows)}, {"total", order_.size()}, {"limit", limit}, {"offset", offset}};
}

result<json> alerts::get(const std::string& id) const {
  const auto found = alerts_.find(id);
  if (found != alerts_.end()) return found->second;
  return fail(errc::not_found, "alert_not_found", "there is no alert \"" + id + "\"", "List them: `caged alerts`.", "/alert");
}

task<void> alerts::become(std::string id, std::string state) {
  if (auto known = get(id); !known) co_return known.error();
  json row = alerts_[id];
  if (row["state"] == state) co_return result<void>{};
  if (row["state"] == "resolved")
    co_return fail(errc::conflict, "alert_resolved", "the alert " + id + " is resolved", "It comes anew when its cause does.");
  row["state"] = state;
  if (state == "resolved") row["resolved_at"] = base::format_time(base::now_us());
  json copy = row;
  if (auto saved = co_await save("alert", id, std::move(copy)); !saved) co_return saved.error();
  if (alerts_.contains(id)) alerts_[id] = std::move(row);
  co_return result<void>{};
}

json alerts::rules() const {
  json rows = json::array();
  for (const auto& [id, row] : rules_) rows.push_back(row);
  return rows;
}

task<json> alerts::update_rule(std::string id, json patch) {
  const auto found = rules_.find(id);
  if (found == rules_.end())
    co_return fail(errc::not_found, "rule_not_found", "there is no alert rule \"" + id + "\"", "List them: GET /v1/alerts/rules.", "/rule");
  json row = found->second;
  if (patch.contains("enabled")) row["enabled"] = patch["enabled"];
  const json wanted = patch.value("config", json::object());  // items() does not keep a temporary alive
  for (const auto& [key, value] : wanted.items()) {
    if (!row["config"].contains(key) || !value.is_number() || value.get<double>() < 0)
      co_return fail(errc::invalid_argument, "bad_rule", "\"" + key + "\" is no setting of " + id + ", or no number of 0 or more",
                     "It has: " + row["config"].dump() + ".", "/config/" + key);
    row["config"][key] = value;
  }
  json copy = row;
  auto saved = co_await save("alert_rule", id, std::move(copy));
  if (!saved) co_return saved.error();
  rules_[id] = row;
  co_return row;
}

}  // namespace caged::judgement
