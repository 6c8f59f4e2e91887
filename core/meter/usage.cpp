#include "core/meter/usage.hpp"

#include <ctime>

namespace caged::meter {
namespace {

constexpr std::int64_t day_us = 86'400'000'000;

std::string id_of(const usage_row& r) {
  return r.day + "|" + r.sandbox_id + "|" + r.session_id + "|" + r.provider + "|" + r.model;
}

}  // namespace

std::string day_of(std::int64_t time_us) {
  const std::time_t seconds = time_us / 1'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

std::vector<std::pair<std::string, std::int64_t>> by_day(std::int64_t from_us, std::int64_t to_us) {
  std::vector<std::pair<std::string, std::int64_t>> parts;
  while (from_us < to_us) {
    const std::int64_t end = std::min(to_us, (from_us / day_us + 1) * day_us);
    parts.emplace_back(day_of(from_us), end - from_us);
    from_us = end;
  }
  return parts;
}

json to_stored(const usage_row& r) {
  return {{"day", r.day},
          {"sandbox_id", r.sandbox_id},
          {"session_id", r.session_id},
          {"provider", r.provider},
          {"model", r.model},
          {"calls", r.calls},
          {"cost_micro", r.cost_micro},
          {"input", r.input},
          {"output", r.output},
          {"cache_read", r.cache_read},
          {"cache_write", r.cache_write},
          {"reasoning", r.reasoning},
          {"quantity", r.quantity}};
}

usage_row usage_from_stored(const json& j) {
  const auto number = [&j](const char* key) { return j.value(key, std::int64_t{0}); };
  usage_row r;
  r.day = j.value("day", "");
  r.sandbox_id = j.value("sandbox_id", "");
  r.session_id = j.value("session_id", "");
  r.provider = j.value("provider", "");
  r.model = j.value("model", "");
  r.calls = number("calls");
  r.cost_micro = number("cost_micro");
  r.input = number("input");
  r.output = number("output");
  r.cache_read = number("cache_read");
  r.cache_write = number("cache_write");
  r.reasoning = number("reasoning");
  r.quantity = number("quantity");
  return r;
}

json to_api(const usage_row& r) {
  json j = to_stored(r);
  j.erase("cost_micro");
  j["cost"] = static_cast<double>(r.cost_micro) / 1e6;
  return j;
}

usage_line to_line(const std::string& id, const usage_row& r) {
  usage_line line;
  line.id = id;
  line.account = "local";
  line.day = r.day;
  line.sandbox_id = r.sandbox_id;
  line.session_id = r.session_id;
  line.item = r.is_model() ? "model" : r.model;
  if (r.is_model()) line.model = r.provider + "/" + r.model;
  line.quantity = r.is_model() ? r.input + r.cache_read + r.cache_write + r.output : r.quantity;
  line.amount_micro = r.cost_micro;
  return line;
}

void usage_book::count(usage_sum& sum, const usage_row& r, std::int64_t quantity, std::int64_t cost_micro) {
  if (r.is_model()) {
    sum.model_micro += cost_micro;
  } else if (r.model == "compute") {
    sum.compute_micro += cost_micro;
    sum.running_us += quantity;
  } else {
    sum.egress_micro += cost_micro;
  }
}

void usage_book::load(std::string id, usage_row r) {
  usage_row& kept = at(id, std::move(r));
  count(total_, kept, kept.quantity, kept.cost_micro);
  count(sums_[kept.session_id], kept, kept.quantity, kept.cost_micro);
  changed_.insert(std::move(id));
}

usage_row& usage_book::at(const std::string& id, usage_row fresh) {
  const auto [found, is_new] = rows_.try_emplace(id, std::move(fresh));
  if (is_new) by_session_[found->second.session_id].push_back(id);
  return found->second;
}

std::string usage_book::add(std::int64_t time_us, const std::string& sandbox_id, const std::string& session_id,
                            const json& fact) {
  usage_row r;
  r.day = day_of(time_us);
  r.sandbox_id = sandbox_id;
  r.session_id = session_id;
  r.provider = fact.value("provider", "");
  r.model = fact.value("model", "");
  if (!r.is_model()) r.provider = "other";  // the name of our own rows is taken
  std::string id = id_of(r);
  auto& row = at(id, std::move(r));
  const json tokens = fact.value("tokens", json::object());
  const auto add = [&tokens](std::int64_t& sum, const char* key) { sum += tokens.value(key, std::int64_t{0}); };
  const std::int64_t cost = fact.value("cost_micros", std::int64_t{0});
  ++row.calls;
  row.cost_micro += cost;
  add(row.input, "input");
  add(row.output, "output");
  add(row.cache_read, "cache_read");
  add(row.cache_write, "cache_write");
  add(row.reasoning, "reasoning");
  count(total_, row, 0, cost);
  count(sums_[session_id], row, 0, cost);
  changed_.insert(id);
  return id;
}

void usage_book::add_own(const std::string& day, const std::string& sandbox_id, const std::string& session_id,
                         const char* item, std::int64_t quantity, std::int64_t cost_micro) {
  usage_row r;
  r.day = day;
  r.sandbox_id = sandbox_id;
  r.session_id = session_id;
  r.provider = own_provider;
  r.model = item;
  const std::string id = id_of(r);
  auto& row = at(id, std::move(r));
  row.quantity += quantity;
  row.cost_micro += cost_micro;
  count(total_, row, quantity, cost_micro);
  count(sums_[session_id], row, quantity, cost_micro);
  unsaved_[sandbox_id].insert(id);
  changed_.insert(id);
}

std::vector<std::string> usage_book::take_unsaved(const std::string& sandbox_id) {
  const auto found = unsaved_.find(sandbox_id);
  if (found == unsaved_.end()) return {};
  std::vector<std::string> ids(found->second.begin(), found->second.end());
  unsaved_.erase(found);
  return ids;
}

void usage_book::unsaved(const std::string& sandbox_id, const std::vector<std::string>& ids) {
  if (!ids.empty()) unsaved_[sandbox_id].insert(ids.begin(), ids.end());
}

std::vector<const usage_row*> usage_book::rows_of_session(const std::string& session_id) const {
  std::vector<const usage_row*> list;
  const auto found = by_session_.find(session_id);
  if (found == by_session_.end()) return list;
  for (const auto& id : found->second) list.push_back(&rows_.at(id));
  return list;
}

usage_sum usage_book::session(const std::string& session_id) const {
  const auto found = sums_.find(session_id);
  return found == sums_.end() ? usage_sum{} : found->second;
}

std::int64_t usage_book::month_running_us(std::int64_t now_us) const {
  std::int64_t sum = 0;
  const std::string first = day_of(now_us).substr(0, 8);  // "2026-01-": rows are sorted by day
  for (auto row = rows_.lower_bound(first); row != rows_.end(); ++row)
    if (!row->second.is_model() && row->second.model == "compute") sum += row->second.quantity;
  return sum;
}

}  // namespace caged::meter
