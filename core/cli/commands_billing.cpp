// caged billing: statements, budgets, the subscription.
#include <core/cli/commands.hpp>
#include <core/cli/operation_help.hpp>
#include <core/config/units.hpp>

#include <fstream>

namespace caged::cli {
namespace {

struct billing_options {
  std::string from, to, output, format = "text", account, session, plan;
};

// Micro-dollars as exact dollars.
std::string exact_dollars(const json& row) {
  const auto micro = row.value("amount_micro", std::int64_t{0});
  std::string fraction = std::to_string(micro % 1'000'000);
  return "$" + std::to_string(micro / 1'000'000) + "." + std::string(6 - fraction.size(), '0') + fraction;
}

std::string statement_text(const json& st, colors use) {
  std::string out = field(st, "from") + " to " + field(st, "to") + "\n\n";
  const std::pair<const char*, const char*> lists[] = {
      {"items", "item"}, {"days", "day"}, {"sandboxes", "sandbox_id"}, {"sessions", "session_id"}, {"models", "model"}};
  for (const auto& [list, key] : lists) {
    if (!st.contains(list) || st[list].empty()) continue;
    std::string title = key;
    for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    table rows({{title}, {"AMOUNT", column::side::right}});
    for (const json& row : st[list]) rows.add({field(row, key), exact_dollars(row)});
    out += rows.text(use) + "\n";
  }
  out += "total " + exact_dollars({{"amount_micro", st.value("total_micro", std::int64_t{0})}}) +
         (st.value("balanced", false) ? "\n" : " (the books do not balance)\n");
  return out;
}

result<int> show_statement(session& s, const billing_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  const bool text = o.format == "text";
  http::client_request request;
  request.target =
      "/v1/billing/statement" + query({{"from", o.from}, {"to", o.to}, {"format", text ? "json" : o.format}});
  auto answer = client->request(std::move(request));
  if (!answer) return answer.error();
  if (!answer->ok()) return answer->failure();
  if (!o.output.empty()) {
    std::ofstream file(o.output, std::ios::binary | std::ios::trunc);
    file << answer->body;
    file.close();
    if (!file) return fail(errc::unavailable, "not_written", o.output + " could not be written", "Check the path.");
    return 0;
  }
  if (!text) {
    s.print(answer->body);
    return 0;
  }
  auto document = answer->document();
  if (!document) return document.error();
  if (s.machine())
    s.print_document(*document);
  else
    s.print(statement_text(*document, s.out_colors()));
  return 0;
}

result<json> dollars_or_none(const std::string& text, const char* flag) {
  if (text == "none") return json(nullptr);
  auto amount = config::parse_number(text);
  if (amount && *amount >= 0) return json(*amount);
  return fail(errc::invalid_argument, "bad_amount", std::string(flag) + " " + text + " is no amount of dollars",
              "Write a number, or none.");
}

result<int> budgets(session& s, const billing_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  json change = json::object();
  for (const auto& [key, given] : {std::pair{"account", &o.account}, std::pair{"session", &o.session}}) {
    if (given->empty()) continue;
    auto amount = dollars_or_none(*given, key);
    if (!amount) return amount.error();
    change[key] = *amount;
  }
  auto now = change.empty() ? client->call("GET", "/v1/billing/budgets") : client->call("PUT", "/v1/billing/budgets", change);
  if (!now) return now.error();
  if (s.machine()) {
    s.print_document(*now);
    return 0;
  }
  table rows({{"BUDGET"}, {"DOLLARS", column::side::right}});
  for (const char* key : {"account", "session"})
    rows.add({key, (*now)[key].is_number() ? human_dollars((*now)[key].get<double>()) : "none"});
  s.print(rows.text(s.out_colors()) + "\nspent " + human_dollars((*now).value("spent", 0.0)) + "; at 100 %: " + field(*now, "at_limit") + "\n");
  return 0;
}

result<int> show_page(session& s, const char* target, const json& body) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("POST", target, body);
  if (!answer) return answer.error();
  if (s.machine())
    s.print_document(*answer);
  else if (answer->is_object())
    s.print(printable(field(*answer, "url")) + "\n");
  return 0;
}

result<int> show_subscription(session& s) {
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("GET", "/v1/billing/subscription");
  if (!answer) return answer.error();
  s.print_document(*answer);
  return 0;
}

}  // namespace

void add_billing_commands(CLI::App& root, const command_set& set) {
  auto o = std::make_shared<billing_options>();
  auto* billing = set.add_group(root, "billing", "Statements, budgets and the subscription");
  auto* statement = set.add(*billing, "statement", help_of("billing.statement"),
                            "  caged billing statement --from 2026-01-01 --to 2026-01-31\n"
                            "  caged billing statement --as html -o january.html",
                            [o](session& s) { return show_statement(s, *o); });
  statement->add_option("--from", o->from, about("billing.statement", "from"));
  statement->add_option("--to", o->to, about("billing.statement", "to"));
  statement->add_option("--as", o->format, "text, json, csv, or html: a page to print")
      ->check(CLI::IsMember({"text", "json", "csv", "html"}));
  statement->add_option("-o,--output", o->output, "File to write; standard output by default");
  auto* budget = set.add(*billing, "budget", help_of("billing.set_budgets"),
                         "  caged billing budget\n  caged billing budget --account 50 --session none",
                         [o](session& s) { return budgets(s, *o); });
  budget->add_option("--account", o->account, "US dollars for all sandboxes together, or none");
  budget->add_option("--session", o->session, "US dollars for each session, or none");
  set.add(*billing, "subscription", help_of("billing.subscription"), "  caged billing subscription", show_subscription);
  auto* checkout = set.add(*billing, "checkout", help_of("billing.checkout"), "  caged billing checkout pro", [o](session& s) {
    return show_page(s, "/v1/billing/checkout", {{"plan_id", o->plan}});
  });
  checkout->add_option("PLAN", o->plan, about("billing.checkout", "plan_id"))->required();
  set.add(*billing, "portal", help_of("billing.portal"), "  caged billing portal",
          [](session& s) { return show_page(s, "/v1/billing/portal", json::object()); });
  set.add(*billing, "cancel", help_of("billing.cancel"), "  caged billing cancel",
          [](session& s) { return show_page(s, "/v1/billing/cancel", json::object()); });
}

}  // namespace caged::cli
