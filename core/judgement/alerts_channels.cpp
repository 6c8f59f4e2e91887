// How alerts reach people: notifications inside, webhooks, Slack, Discord, e-mail; tried again, and dead in the end.
#include <caged/random.hpp>

#include "core/base/time.hpp"
#include "core/judgement/alerts.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/loop.hpp"

namespace caged::judgement {
namespace {

constexpr int most_attempts = 6;
constexpr std::size_t most_told = 10'000, most_deliveries = 10'000;
constexpr std::array channel_names{"webhook", "slack", "discord", "email"};

std::string webhook_of(const json& channels, const std::string& channel) { return channels.value(channel + "_url", ""); }

}  // namespace

write alerts::put(std::string kind, std::string id, json body) {
  write w;
  w.kind = std::move(kind);
  w.id = std::move(id);
  w.body = std::move(body);
  return w;
}

write alerts::erase(std::string kind, std::string id) {
  write w;
  w.what = write::op::erase;
  w.kind = std::move(kind);
  w.id = std::move(id);
  return w;
}

bool alerts::reaches(const std::string& channel) const {
  const json off = channels_.value("disabled", json::array());
  if (std::find(off.begin(), off.end(), json(channel)) != off.end()) return false;
  if (channel == "in_app") return true;
  if (channel == "email") return !parts_.mail.address.empty() && !channels_.value("email_address", "").empty();
  return !webhook_of(channels_, channel).empty();
}

void alerts::notify(const json& alert, std::vector<write>& writes) {
  if (!reaches("in_app")) return;
  json row{{"id", random_id("ntf-", 12)},   {"account_id", "local"},        {"alert_id", alert["id"]}, {"channel", "in_app"},
           {"title", alert["title"]},       {"message", alert["message"]}, {"read", false},
           {"created_at", alert["created_at"]}};
  const auto id = row["id"].get<std::string>();
  writes.push_back(put("notification", id, row));
  notifications_[id] = std::move(row);
  told_.push_back(id);
  if (told_.size() <= most_told) return;
  writes.push_back(erase("notification", told_.front()));
  notifications_.erase(told_.front());
  told_.erase(told_.begin());
}

std::vector<std::string> alerts::address(const json& alert, std::vector<write>& writes) {
  std::vector<std::string> ids;
  for (const char* channel : channel_names) {
    if (!reaches(channel)) continue;
    json d{{"id", random_id("dlv-", 12)}, {"alert_id", alert["id"]}, {"channel", channel}, {"state", "pending"},
           {"attempts", 0},               {"last_error", nullptr},   {"created_at", alert["created_at"]}};
    const auto id = d["id"].get<std::string>();
    writes.push_back(put("alert_delivery", id, d));
    deliveries_[id] = std::move(d);
    ids.push_back(id);
  }
  // What was delivered long ago goes first; dead letters stay to be seen.
  for (auto d = deliveries_.begin(); d != deliveries_.end() && deliveries_.size() > most_deliveries;) {
    if (d->second["state"] == "delivered") writes.push_back(erase("alert_delivery", d->first));
    d = d->second["state"] == "delivered" ? deliveries_.erase(d) : std::next(d);
  }
  return ids;
}

// A call for a thread of the pool: it holds copies of all it needs.
std::function<result<void>()> alerts::sender(const std::string& channel, const std::string& id, const json& alert) const {
  if (channel == "email") {
    mail m;
    m.to = channels_.value("email_address", "");
    m.id = id;
    m.subject = "[Caged] " + alert.value("severity", "") + ": " + alert.value("title", "");
    m.text = alert.value("message", "") + "\n\nSandbox: " + alert.value("sandbox_id", "") + "\nSession: " + alert.value("session_id", "") +
             "\nAlert: " + alert.value("id", "") + "\nSince: " + alert.value("created_at", "") + "\n";
    return [server = parts_.mail, m] { return send_mail(server, m); };
  }
  letter l;
  l.url = webhook_of(channels_, channel);
  l.secret = channels_.value("webhook_secret", "");
  l.id = id;
  l.body = letter_body(channel, alert);
  return [l] { return send(l); };
}

// Tries with growing pauses; what is given up stays as a dead letter.
asio::awaitable<void> alerts::deliver(std::string id) {
  while (deliveries_.contains(id) && deliveries_[id]["state"] == "pending") {
    json& d = deliveries_[id];
    const int attempt = d.value("attempts", 0);
    if (attempt > 0) co_await runtime::sleep_for(std::chrono::milliseconds(500) * (1 << std::min(attempt, 7)));
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    const auto found = alerts_.find(d["alert_id"].get<std::string>());
    const std::string channel = d["channel"].get<std::string>();
    std::function<result<void>()> sending;
    if (found != alerts_.end() && reaches(channel)) sending = sender(channel, id, found->second);
    result<void> sent = fail(errc::not_found, "channel_gone", "the channel or the alert is gone", "Set the channel again.");
    if (sending) sent = co_await runtime::on_pool(parts_.blocking, std::move(sending));
    if (!deliveries_.contains(id)) co_return;
    json& now = deliveries_[id];
    now["attempts"] = attempt + 1;
    if (sent)
      now["state"] = "delivered";
    else if (attempt + 1 >= most_attempts || sent.error().reason == "channel_gone")
      now["state"] = "dead";
    now["last_error"] = sent ? json(nullptr) : json(sent.error().message);
    json row = now;
    (void)co_await save("alert_delivery", id, std::move(row));
  }
}

task<void> alerts::retry(std::string id) {
  const auto found = deliveries_.find(id);
  if (found == deliveries_.end())
    co_return fail(errc::not_found, "delivery_not_found", "there is no delivery \"" + id + "\"",
                   "List them: GET /v1/alerts/deliveries.", "/delivery");
  if (found->second["state"] != "dead")
    co_return fail(errc::conflict, "delivery_not_dead", "the delivery " + id + " is " + found->second["state"].get<std::string>(),
                   "Only what was given up can be tried again.");
  found->second["state"] = "pending";
  found->second["attempts"] = 0;
  json row = found->second;
  if (auto saved = co_await save("alert_delivery", id, std::move(row)); !saved) co_return saved.error();
  work_.spawn("delivery of an alert", deliver(id));
  co_return result<void>{};
}

json alerts::notifications(std::size_t limit, std::size_t offset, std::string_view which) const {
  json rows = json::array();
  std::size_t seen = 0;
  for (auto id = told_.rbegin(); id != told_.rend() && rows.size() < limit; ++id) {
    const json& row = notifications_.at(*id);
    if (which == "unread" && row["read"] == true) continue;
    if (seen++ >= offset) rows.push_back(row);
  }
  return {{"notifications", std::move(rows)}, {"unread_count", unread()}};
}

std::size_t alerts::unread() const {
  std::size_t count = 0;
  for (const auto& [id, row] : notifications_) count += row["read"] == false;
  return count;
}

task<void> alerts::mark_read(std::string id) {
  if (!id.empty() && !notifications_.contains(id))
    co_return fail(errc::not_found, "notification_not_found", "there is no notification \"" + id + "\"",
                   "List them: GET /v1/notifications.", "/notification");
  batch b;
  for (auto& [own, row] : notifications_) {
    if ((!id.empty() && own != id) || row["read"] == true) continue;
    row["read"] = true;
    b.writes.push_back(put("notification", own, row));
  }
  if (b.writes.empty()) co_return result<void>{};
  co_return co_await parts_.records->commit(std::move(b));
}

json alerts::channels() const {
  json out{{"enabled_channels", json::array()}};
  for (const char* channel : {"in_app", "webhook", "slack", "discord", "email"})
    if (reaches(channel)) out["enabled_channels"].push_back(channel);
  for (const char* channel : {"webhook", "slack", "discord"}) {
    const std::string url = webhook_of(channels_, channel), key = std::string(channel) + (std::string_view(channel) == "webhook" ? "" : "_webhook");
    out[key + "_configured"] = !url.empty();
    out[key + "_hint"] = url.empty() ? json(nullptr) : json(url.substr(0, url.find('/', 8)) + "/…");
  }
  out["webhook_signed"] = !channels_.value("webhook_secret", "").empty();
  const std::string address = channels_.value("email_address", "");
  out["email_address"] = address.empty() ? json(nullptr) : json(address);
  out["mail_server_configured"] = !parts_.mail.address.empty();
  return out;
}

task<json> alerts::update_channels(json patch) {
  json next = channels_;
  const std::map<std::string, std::string> keys{{"webhook_url", "webhook_url"}, {"webhook_secret", "webhook_secret"},
                                                {"slack_webhook_url", "slack_url"}, {"discord_webhook_url", "discord_url"}};
  for (const auto& [key, slot] : keys) {
    if (!patch.contains(key)) continue;
    const std::string value = patch[key].get<std::string>();
    if (value == "__clear__" || value.empty()) {
      next.erase(slot);
      continue;
    }
    if (slot != "webhook_secret" && !value.starts_with("https://") && !value.starts_with("http://"))
      co_return fail(errc::invalid_argument, "bad_url", key + " is no http or https URL", "Give the whole URL.", "/" + key);
    next[slot] = value;
  }
  if (patch.contains("email_address")) {
    const std::string value = patch["email_address"].get<std::string>();
    if (value == "__clear__" || value.empty()) {
      next.erase("email_address");
    } else if (!is_mail_address(value)) {
      co_return fail(errc::invalid_argument, "bad_address", "email_address is no e-mail address", "Write name@host.", "/email_address");
    } else if (parts_.mail.address.empty()) {
      co_return fail(errc::invalid_argument, "no_mail_server", "this server has no mail server to send through",
                     "Set `mail` in its configuration first.", "/email_address");
    } else {
      next["email_address"] = value;
    }
  }
  if (patch.contains("enabled_channels")) {
    next["disabled"] = json::array();
    for (const char* channel : {"in_app", "webhook", "slack", "discord", "email"})
      if (std::find(patch["enabled_channels"].begin(), patch["enabled_channels"].end(), json(channel)) == patch["enabled_channels"].end())
        next["disabled"].push_back(channel);
  }
  json copy = next;
  auto saved = co_await save("alert_channels", "all", std::move(copy));
  if (!saved) co_return saved.error();
  channels_ = std::move(next);
  co_return channels();
}

json alerts::deliveries() const {
  json rows = json::array();
  for (const auto& [id, row] : deliveries_) rows.push_back(row);
  return rows;
}

}  // namespace caged::judgement
