// caged alerts: what needs a person's eye.
#include <core/cli/commands.hpp>

#include <poll.h>

#include <set>

namespace caged::cli {
namespace {

std::string alert_table(const json& rows, colors use) {
  table out({{"ID"}, {"STATE"}, {"SEVERITY"}, {"WHAT"}, {"SANDBOX"}, {"MESSAGE"}, {"SINCE"}});
  for (const json& r : rows) {
    const std::string severity = field(r, "severity");
    const tint color = severity == "critical" ? tint::red : severity == "warning" ? tint::yellow : tint::unset;
    out.add({field(r, "id"), field(r, "state"), severity, field(r, "title"), field(r, "sandbox_id"), field(r, "message"), field(r, "created_at")},
            {tint::unset, tint::unset, color});
  }
  return out.text(use);
}

result<int> perform_alerts(session& s, bool watch) {
  auto client = s.connect();
  if (!client) return client.error();
  std::set<std::string> told;
  for (bool first = true;; first = false) {
    auto page = client->call("GET", "/v1/alerts?limit=100");
    if (!page) return page.error();
    if (!watch) {
      if (s.machine())
        s.print_document(*page);
      else
        s.print(alert_table((*page)["alerts"], s.out_colors()));
      return 0;
    }
    for (auto r = (*page)["alerts"].rbegin(); r != (*page)["alerts"].rend(); ++r) {
      if (!told.insert(field(*r, "id")).second || (first && field(*r, "state") != "open")) continue;
      if (s.machine()) {
        s.print_line(*r);
        // The bell: the desktop's own way of asking for a look.
      } else if (!s.print("\a" + field(*r, "created_at") + " " + field(*r, "severity") + " " + field(*r, "title") + " " + field(*r, "sandbox_id") + ": " +
                          printable(field(*r, "message")) + "\n")) {
        return 0;
      }
    }
    ::poll(nullptr, 0, 1000);
  }
}

result<int> perform_act(session& s, const std::string& id, const std::string& what) {
  auto client = s.connect();
  if (!client) return client.error();
  auto done = client->call("POST", "/v1/alerts/" + http::encode_component(id) + "/" + what, json::object());
  if (!done) return done.error();
  return 0;
}

result<int> perform_deliveries(session& s, const std::string& retry) {
  auto client = s.connect();
  if (!client) return client.error();
  if (!retry.empty()) {
    auto done = client->call("POST", "/v1/alerts/deliveries/" + http::encode_component(retry) + "/retry", json::object());
    if (!done) return done.error();
    return 0;
  }
  auto rows = client->call("GET", "/v1/alerts/deliveries");
  if (!rows) return rows.error();
  if (s.machine()) {
    s.print_document(*rows);
    return 0;
  }
  table out({{"ID"}, {"ALERT"}, {"CHANNEL"}, {"STATE"}, {"ATTEMPTS", column::side::right}, {"LAST ERROR"}});
  for (const json& r : *rows)
    out.add({field(r, "id"), field(r, "alert_id"), field(r, "channel"), field(r, "state"), field(r, "attempts"), field(r, "last_error")},
            {tint::unset, tint::unset, tint::unset, field(r, "state") == "dead" ? tint::red : tint::unset});
  s.print(out.text(s.out_colors()));
  return 0;
}

}  // namespace

void add_alert_commands(CLI::App& root, const command_set& set) {
  auto watch = std::make_shared<bool>(false);
  auto id = std::make_shared<std::string>();
  auto* alerts = root.add_subcommand("alerts", help_of("alert.list").summary);
  alerts->require_subcommand(0, 1);
  set.add_global_flags(*alerts);
  alerts->add_flag("--watch", *watch, "Tell each alert as it comes");
  chosen_command& chosen = set.chosen;
  alerts->callback([alerts, &chosen, watch] {
    if (alerts->get_subcommands().empty()) chosen.act = [watch](session& s) { return perform_alerts(s, *watch); };
  });
  set.add(*alerts, "mute", help_of("alert.mute"), "  caged alerts mute alert-0a1b2c3d4e5f", [id](session& s) { return perform_act(s, *id, "mute"); })
      ->add_option("ID", *id, "Id of the alert")
      ->required();
  set.add(*alerts, "deliveries", help_of("alert.deliveries"), "  caged alerts deliveries\n  caged alerts deliveries --retry dlv-0a1b2c3d4e5f",
          [id](session& s) { return perform_deliveries(s, *id); })
      ->add_option("--retry", *id, "Try this one again, which was given up");
  set.add(*alerts, "resolve", help_of("alert.resolve"), "  caged alerts resolve alert-0a1b2c3d4e5f", [id](session& s) { return perform_act(s, *id, "resolve"); })
      ->add_option("ID", *id, "Id of the alert")
      ->required();
}

}  // namespace caged::cli
