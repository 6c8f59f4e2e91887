// What was spent: on computing and on models, by sandbox, day and model.
#include "core/base/time.hpp"
#include "core/meter/reporter.hpp"
#include "core/operation/conversation.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/operation/statement.hpp"
#include "core/sandbox/purse.hpp"

namespace caged::operation {
namespace {

using namespace schema;

double dollars(std::int64_t micro) { return static_cast<double>(micro) / 1e6; }

struct sums {
  std::int64_t calls = 0, cost_micro = 0, input = 0, output = 0, cache_read = 0, cache_write = 0, reasoning = 0;
  std::int64_t compute_micro = 0, egress_micro = 0, running_us = 0;

  void add(const meter::usage_row& r) {
    if (!r.is_model()) {
      (r.model == "compute" ? compute_micro : egress_micro) += r.cost_micro;
      if (r.model == "compute") running_us += r.quantity;
      return;
    }
    calls += r.calls;
    cost_micro += r.cost_micro;
    input += r.input;
    output += r.output;
    cache_read += r.cache_read;
    cache_write += r.cache_write;
    reasoning += r.reasoning;
  }
  json shown(const char* key, const std::string& name) const {
    return {{key, name},
            {"calls", calls},
            {"llm_cost", dollars(cost_micro)},
            {"compute_cost", dollars(compute_micro)},
            {"egress_cost", dollars(egress_micro)},
            {"total_cost", dollars(cost_micro + compute_micro + egress_micro)},
            {"compute_seconds", static_cast<double>(running_us) / 1e6},
            {"input", input},
            {"output", output},
            {"cache_read", cache_read},
            {"cache_write", cache_write},
            {"reasoning", reasoning}};
  }
};

json rows_of(const std::map<std::string, sums>& groups, const char* key) {
  json rows = json::array();
  for (const auto& [name, sum] : groups) rows.push_back(sum.shown(key, name));
  return rows;
}

json row_of(const sandbox::record& r, std::int64_t now, std::int64_t reserved) {
  return {{"id", r.id},
          {"name", r.name},
          {"status", to_string(r.status)},
          {"compute_cost", dollars(compute_micro(r, now))},
          {"egress_cost", dollars(egress_micro(r))},
          {"llm_cost", dollars(r.llm_micro)},
          {"total_cost", dollars(spent_micro(r, now))},
          {"reserved", dollars(reserved)},
          {"budget", r.budget_micro == 0 ? json(nullptr) : json(dollars(r.budget_micro))}};
}

json cap_or_null(std::int64_t micro) { return micro == 0 ? json(nullptr) : json(dollars(micro)); }

task<reply> usage(services* s, call c) {
  const std::string box = c.arguments.value("sandbox_id", "");
  const std::string since = c.arguments.value("since", ""), until = c.arguments.value("until", "9999");
  if (!box.empty())
    if (auto known = co_await s->sandboxes->recall(box); !known) co_return known.error();
  s->sandboxes->count_usage();
  std::map<std::string, sums> days, models, sessions, boxes;
  sums all;
  for (const auto& [id, row] : s->purses->usage().rows()) {
    if ((!box.empty() && row.sandbox_id != box) || row.day < since || row.day > until) continue;
    all.add(row);
    days[row.day].add(row);
    sessions[row.session_id].add(row);
    boxes[row.sandbox_id].add(row);
    if (row.is_model()) models[row.provider + "/" + row.model].add(row);
  }
  const auto now = base::now_us();
  json rows = json::array();
  for (const auto& l : s->sandboxes->all()) {
    if (!box.empty() && l->rec.id != box) continue;
    rows.push_back(row_of(l->rec, now, s->purses->reserved_micro(l->rec.id)));
    boxes.erase(l->rec.id);
  }
  // Those whose records were forgotten: what they cost is not.
  for (const auto& [id, sum] : boxes) {
    json row = sum.shown("id", id);
    row["status"] = "forgotten";
    rows.push_back(std::move(row));
  }
  const auto& budgets = s->purses->budgets();
  const auto running = s->purses->usage().total().running_us, reported = s->reporter->reported_us();
  json body{{"compute_minutes", static_cast<double>(all.running_us / 1000) / 60000},
            {"reported_minutes", static_cast<double>(reported / 1000) / 60000},
            {"pending_seconds", s->reporter->has_providers() ? (running - reported) / 1'000'000 : 0},
            {"compute_cost", dollars(all.compute_micro)},
            {"egress_cost", dollars(all.egress_micro)},
            {"llm_cost", dollars(all.cost_micro)},
            {"total_cost", dollars(all.compute_micro + all.egress_micro + all.cost_micro)},
            {"calls", all.calls},
            {"budget", cap_or_null(budgets.account)},
            {"session_budget", cap_or_null(budgets.session)},
            {"sandboxes", std::move(rows)},
            {"days", rows_of(days, "day")},
            {"models", rows_of(models, "model")},
            {"sessions", rows_of(sessions, "session_id")}};
  const auto last = s->reporter->last_us();
  body["last_reported_at"] = last == 0 ? json(nullptr) : json(base::format_time(last));
  co_return answer(std::move(body));
}

task<reply> statement(services* s, call c) {
  auto* books = s->reporter->find<billing_statements>();
  if (books == nullptr)
    co_return fail(errc::unsupported, "no_statements", "no billing plugin that writes statements is loaded",
                   "Load billing.ledger: see `caged plugins`.");
  // What was used until now belongs into it.
  s->sandboxes->count_usage();
  if (auto ok = co_await s->reporter->round(); !ok) co_return ok.error();
  const std::string today = meter::day_of(base::now_us());
  auto made = co_await books->statement(c.arguments.value("from", today.substr(0, 8) + "01"), c.arguments.value("to", today));
  if (!made) co_return made.error();
  const std::string format = c.arguments.value("format", "json");
  reply r;
  if (format == "csv") {
    r.bytes = source_of(statement_csv(*made));
    r.media_type = "text/csv; charset=utf-8";
  } else if (format == "html") {
    r.bytes = source_of(statement_html(*made));
    r.media_type = "text/html; charset=utf-8";
  } else {
    r.bytes = source_of(made->dump());
    r.media_type = "application/json";
  }
  co_return r;
}

task<reply> show_budgets(services* s, call) {
  const auto& b = s->purses->budgets();
  co_return answer({{"account", cap_or_null(b.account)},
                    {"session", cap_or_null(b.session)},
                    {"at_limit", s->config->budgets.pauses ? "pause" : "destroy"},
                    {"final_snapshot", s->config->budgets.final_snapshot},
                    {"spent", dollars(s->purses->usage().total().total())}});
}

task<reply> set_budgets(services* s, call c) {
  auto wanted = s->purses->budgets();
  const auto take = [&c](const char* key, std::int64_t& slot) {
    if (!c.arguments.contains(key)) return;
    const json& given = c.arguments[key];
    slot = given.is_null() ? 0 : static_cast<std::int64_t>(given.get<double>() * 1e6 + 0.5);
  };
  take("account", wanted.account);
  take("session", wanted.session);
  if (auto set = co_await s->purses->set_budgets(wanted); !set) co_return set.error();
  if (auto settled = co_await s->sandboxes->settle_budgets(); !settled) co_return settled.error();
  co_return co_await show_budgets(s, std::move(c));
}

result<billing_subscriptions*> subscriptions(services* s) {
  if (auto* found = s->reporter->find<billing_subscriptions>()) return found;
  return fail(errc::unsupported, "no_subscriptions", "this server is not billed by subscription",
              "A server of your own needs none; billing.stripe adds them.");
}

task<reply> subscription(services* s, call) {
  auto* found = s->reporter->find<billing_subscriptions>();
  if (found == nullptr) {
    const std::string& plan = s->config->budgets.plan;
    json body{{"tier", plan.empty() ? "self-hosted" : plan}, {"status", "active"}, {"cancel_at_period_end", false}};
    for (const char* none : {"customer_id", "current_period_end", "trial_ends_at"}) body[none] = nullptr;
    co_return answer(std::move(body));
  }
  auto body = co_await found->subscription();
  if (!body) co_return body.error();
  co_return answer(std::move(*body));
}

task<reply> checkout(services* s, call c) {
  auto found = subscriptions(s);
  if (!found) co_return found.error();
  auto url = co_await (*found)->checkout(c.arguments["plan_id"].get<std::string>());
  if (!url) co_return url.error();
  co_return answer({{"url", *url}});
}

task<reply> portal(services* s, call) {
  auto found = subscriptions(s);
  if (!found) co_return found.error();
  auto url = co_await (*found)->portal();
  if (!url) co_return url.error();
  co_return answer({{"url", *url}});
}

task<reply> cancel(services* s, call) {
  auto found = subscriptions(s);
  if (!found) co_return found.error();
  if (auto ended = co_await (*found)->cancel(); !ended) co_return ended.error();
  co_return answer(nullptr);
}

}  // namespace

void add_billing_operations(services& s) {
  const json day{{"type", "string"}, {"pattern", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}};
  json since = day, until = day;
  since["description"] = "First day of the model calls to count, UTC, as in 2026-01-31.";
  until["description"] = "Last day of them.";
  auto info =
      declare("billing.usage", "GET", "/v1/billing/usage", scope::read, "Show what was spent on computing and models",
              schema::input({{"sandbox_id", text("Only this sandbox.")}, {"since", since}, {"until", until}}),
              schema::output({{"compute_minutes", number("Minutes that sandboxes ran.")},
                              {"compute_cost", number("US dollars, computing.")},
                              {"llm_cost", number("US dollars, models.")},
                              {"total_cost", number("US dollars.")},
                              {"calls", count("Model calls.")},
                              {"sandboxes", list({{"type", "object"}})},
                              {"days", list({{"type", "object"}})},
                              {"models", list({{"type", "object"}})},
                              {"sessions", list({{"type", "object"}})}}));
  info.description =
      "Rows of sandboxes are over their whole lives; `since` and `until` bound all other rows and sums.";
  s.operations->add_own(std::move(info), "", bind(s, usage));

  json from = day, to = day;
  from["description"] = "First day, UTC, as in 2026-01-31.";
  to["description"] = "Last day.";
  info = declare("billing.statement", "GET", "/v1/billing/statement", scope::read, "Write a statement of what was billed",
                 schema::input({{"from", from},
                                {"to", to},
                                {"format", one_of("json, csv, or html: a page to print.", {"json", "csv", "html"})}}),
                 {{"type", "string"}});
  info.description = "Days are inclusive; without `from` and `to` this month. Needs billing.ledger.";
  info.gives = payload::bytes;
  s.operations->add_own(std::move(info), "", bind(s, statement));

  const json cap{{"type", {"number", "null"}}, {"minimum", 0}, {"maximum", 1e9}, {"description", "US dollars; null or 0: none."}};
  const json budgets = schema::output({{"account", cap}, {"session", cap}});
  s.operations->add_own(declare("billing.budgets", "GET", "/v1/billing/budgets", scope::read,
                                "Show the budgets of the account and of each session", schema::input({}), budgets),
                        "", bind(s, show_budgets));
  info = declare("billing.set_budgets", "PUT", "/v1/billing/budgets", scope::full,
                 "Change the budgets of the account and of each session",
                 schema::input({{"account", cap}, {"session", cap}}), budgets);
  info.description = "In force at once: what is over a budget now ends, and what was paused for one that was raised resumes.";
  info.idempotent = true;
  s.operations->add_own(std::move(info), "", bind(s, set_budgets));
  s.operations->add_own(declare("billing.subscription", "GET", "/v1/billing/subscription", scope::read,
                                "Show the subscription", schema::input({}), {{"type", "object"}}),
                        "", bind(s, subscription));
  const json page = schema::output({{"url", text("Page to go to.")}});
  s.operations->add_own(declare("billing.checkout", "POST", "/v1/billing/checkout", scope::full, "Subscribe to a plan",
                                schema::input({{"plan_id", text("Plan.")}}, {"plan_id"}), page),
                        "", bind(s, checkout));
  s.operations->add_own(declare("billing.portal", "POST", "/v1/billing/portal", scope::full,
                                "Change how the subscription is paid", schema::input({}), page),
                        "", bind(s, portal));
  info = declare("billing.cancel", "POST", "/v1/billing/cancel", scope::full, "End the subscription with its period",
                 schema::input({}), nothing());
  info.success = 204;
  info.destructive = true;
  s.operations->add_own(std::move(info), "", bind(s, cancel));
}

}  // namespace caged::operation
