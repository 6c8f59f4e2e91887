// Alerts: what needs a person's eye, the rules behind them, and where they are sent.
#include "core/judgement/alerts.hpp"

#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<reply> list_alerts(services* s, call c) {
  co_return answer(s->alerts->page(c.arguments.value("limit", std::size_t{50}), c.arguments.value("offset", std::size_t{0})));
}

task<reply> get_alert(services* s, call c) {
  auto row = s->alerts->get(c.arguments["alert"].get<std::string>());
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> resolve_alert(services* s, call c) {
  auto done = co_await s->alerts->become(c.arguments["alert"].get<std::string>(), "resolved");
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> mute_alert(services* s, call c) {
  auto done = co_await s->alerts->become(c.arguments["alert"].get<std::string>(), "muted");
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> retry_delivery(services* s, call c) {
  auto done = co_await s->alerts->retry(c.arguments["delivery"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> list_notifications(services* s, call c) {
  co_return answer(s->alerts->notifications(c.arguments.value("limit", std::size_t{50}), c.arguments.value("offset", std::size_t{0}),
                                            c.arguments.value("unread", false) ? "unread" : "all"));
}

task<reply> count_unread(services* s, call) { co_return answer({{"unread_count", s->alerts->unread()}}); }

task<reply> read_notification(services* s, call c) {
  auto done = co_await s->alerts->mark_read(c.arguments["notification"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> read_all(services* s, call) {
  auto done = co_await s->alerts->mark_read("");
  if (!done) co_return done.error();
  co_return reply{};
}

task<reply> list_rules(services* s, call) { co_return answer(s->alerts->rules()); }

task<reply> update_rule(services* s, call c) {
  auto row = co_await s->alerts->update_rule(c.arguments["rule"].get<std::string>(), c.arguments);
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> get_channels(services* s, call) { co_return answer(s->alerts->channels()); }

task<reply> update_channels(services* s, call c) {
  auto row = co_await s->alerts->update_channels(c.arguments);
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> list_deliveries(services* s, call) { co_return answer(s->alerts->deliveries()); }

}  // namespace

void add_alert_operations(services& s) {
  const auto own = [&s](operation_info info, family_handler handler) {
    s.operations->add_own(std::move(info), "", bind(s, handler));
  };
  const json object{{"type", "object"}};
  const json alert{{"type", "string"}, {"description", "Id of the alert."}, {"minLength", 1}, {"maxLength", 64}};
  const json rule{{"type", "string"}, {"description", "Id of the rule, as in rule-error_spike."}, {"minLength", 1}, {"maxLength", 64}};

  own(declare("alert.list", "GET", "/v1/alerts", scope::read, "Alerts, newest first",
              input({{"limit", integer("50 by default.", 1, 100)}, {"offset", count("Left out at the front.")}}), object),
      list_alerts);
  own(declare("alert.get", "GET", "/v1/alerts/{alert}", scope::read, "Show an alert", input({{"alert", alert}}, {"alert"}), object), get_alert);
  auto info = declare("alert.resolve", "POST", "/v1/alerts/{alert}/resolve", scope::sandbox, "Close an alert",
                      input({{"alert", alert}}, {"alert"}), nothing());
  info.success = 204;
  info.idempotent = true;
  own(std::move(info), resolve_alert);
  info = declare("alert.mute", "POST", "/v1/alerts/{alert}/mute", scope::sandbox, "Keep an alert from being told again",
                 input({{"alert", alert}}, {"alert"}), nothing());
  info.success = 204;
  info.idempotent = true;
  own(std::move(info), mute_alert);
  own(declare("alert.rules", "GET", "/v1/alerts/rules", scope::read, "Rules that raise alerts", input({}), list(object)), list_rules);
  own(declare("alert.update_rule", "PUT", "/v1/alerts/rules/{rule}", scope::full, "Change an alert rule",
              input({{"rule", rule}, {"enabled", flag("Whether it raises alerts.")}, {"config", {{"type", "object"}, {"description", "Settings to change."}}}}, {"rule"}), object),
      update_rule);
  own(declare("alert.deliveries", "GET", "/v1/alerts/deliveries", scope::read, "Deliveries of alerts, with those given up", input({}), list(object)),
      list_deliveries);
  const json named{{"type", "string"}, {"description", "Its id."}, {"minLength", 1}, {"maxLength", 64}};
  info = declare("alert.retry", "POST", "/v1/alerts/deliveries/{delivery}/retry", scope::full, "Try a dead letter again",
                 input({{"delivery", named}}, {"delivery"}), nothing());
  info.success = 204;
  own(std::move(info), retry_delivery);
  own(declare("notification.list", "GET", "/v1/notifications", scope::read, "Notifications, newest first",
              input({{"limit", integer("50 by default.", 1, 100)},
                     {"offset", count("Left out at the front.")},
                     {"unread", flag("Only those that nobody has read.")}}),
              object),
      list_notifications);
  own(declare("notification.unread", "GET", "/v1/notifications/unread-count", scope::read, "How many notifications are unread",
              input({}), object),
      count_unread);
  info = declare("notification.read", "POST", "/v1/notifications/{notification}/read", scope::sandbox, "Mark a notification as read",
                 input({{"notification", named}}, {"notification"}), nothing());
  info.success = 204;
  info.idempotent = true;
  own(std::move(info), read_notification);
  info = declare("notification.read_all", "POST", "/v1/notifications/read-all", scope::sandbox, "Mark all notifications as read",
                 input({}), nothing());
  info.success = 204;
  info.idempotent = true;
  own(std::move(info), read_all);
  own(declare("notification.config", "GET", "/v1/notifications/config", scope::read, "Where alerts are sent", input({}), object), get_channels);
  info = declare("notification.configure", "PUT", "/v1/notifications/config", scope::full, "Say where alerts are sent",
                 input({{"webhook_url", text("Gets each alert as JSON.")},
                        {"webhook_secret", text("Signs it: X-Caged-Signature.")},
                        {"slack_webhook_url", text("Slack's incoming webhook.")},
                        {"discord_webhook_url", text("Discord's webhook.")},
                        {"email_address", text("Gets each alert by e-mail, through the server's `mail`.")},
                        {"enabled_channels",
                         list(one_of("Channel.", {"in_app", "webhook", "slack", "discord", "email"}),
                              "Only these; a channel also needs its address.")}}),
                 object);
  info.description = "`__clear__` takes one away. Secrets are never shown again.";
  info.idempotent = true;
  own(std::move(info), update_channels);
}

}  // namespace caged::operation
