// What was spent: on computing and on models, by sandbox, day and model.
#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/purse.hpp"

namespace caged::operation {
namespace {

using namespace schema;

double dollars(std::int64_t micro) { return static_cast<double>(micro) / 1e6; }

struct sums {
  std::int64_t calls = 0, cost_micro = 0, input = 0, output = 0, cache_read = 0, cache_write = 0, reasoning = 0;

  void add(const meter::usage_row& r) {
    calls += r.calls;
    cost_micro += r.cost_micro;
    input += r.input;
    output += r.output;
    cache_read += r.cache_read;
    cache_write += r.cache_write;
    reasoning += r.reasoning;
  }
  json shown(const char* key, const std::string& name) const {
    return {
        {key, name},        {"calls", calls},           {"llm_cost", dollars(cost_micro)}, {"input", input},
        {"output", output}, {"cache_read", cache_read}, {"cache_write", cache_write},      {"reasoning", reasoning}};
  }
};

json rows_of(const std::map<std::string, sums>& groups, const char* key) {
  json rows = json::array();
  for (const auto& [name, sum] : groups) rows.push_back(sum.shown(key, name));
  return rows;
}

task<reply> usage(services* s, call c) {
  const std::string box = c.arguments.value("sandbox_id", "");
  const std::string since = c.arguments.value("since", ""), until = c.arguments.value("until", "9999");
  if (!box.empty())
    if (auto known = s->sandboxes->find(box); !known) co_return known.error();
  std::map<std::string, sums> days, models, sessions;
  sums all;
  for (const auto& [id, row] : s->purses->usage().rows()) {
    if ((!box.empty() && row.sandbox_id != box) || row.day < since || row.day > until) continue;
    all.add(row);
    days[row.day].add(row);
    models[row.provider + "/" + row.model].add(row);
    sessions[row.session_id].add(row);
  }
  const auto now = base::now_us();
  std::int64_t compute = 0, llm = 0, running_us = 0;
  json boxes = json::array();
  for (const auto& l : s->sandboxes->all()) {
    const auto& r = l->rec;
    if (!box.empty() && r.id != box) continue;
    const auto cost = compute_micro(r, now);
    compute += cost;
    llm += r.llm_micro;
    running_us += r.running_us(now);
    boxes.push_back({{"id", r.id},
                     {"name", r.name},
                     {"status", to_string(r.status)},
                     {"compute_cost", dollars(cost)},
                     {"llm_cost", dollars(r.llm_micro)},
                     {"total_cost", dollars(cost + r.llm_micro)},
                     {"reserved", dollars(s->purses->reserved_micro(r.id))},
                     {"budget", r.budget_micro == 0 ? json(nullptr) : json(dollars(r.budget_micro))}});
  }
  const auto cap = s->purses->account_cap_micro();
  json body{{"compute_minutes", static_cast<double>(running_us / 1000) / 60000},
            {"reported_minutes", 0},
            {"pending_seconds", running_us / 1'000'000},
            {"last_reported_at", nullptr},
            {"compute_cost", dollars(compute)},
            {"llm_cost", dollars(llm)},
            {"total_cost", dollars(compute + llm)},
            {"calls", all.calls},
            {"budget", cap == 0 ? json(nullptr) : json(dollars(cap))},
            {"sandboxes", std::move(boxes)},
            {"days", rows_of(days, "day")},
            {"models", rows_of(models, "model")},
            {"sessions", rows_of(sessions, "session_id")}};
  co_return answer(std::move(body));
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
      "Costs of sandboxes are over their whole lives; `since` and `until` bound the rows by day, model and session.";
  s.operations->add_own(std::move(info), "", bind(s, usage));
}

}  // namespace caged::operation
