#include "core/meter/usage.hpp"

#include <ctime>

namespace caged::meter {
namespace {

std::string day_of(std::int64_t time_us) {
  const std::time_t seconds = time_us / 1'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

}  // namespace

json to_stored(const usage_row& r) {
  return {
      {"day", r.day},       {"sandbox_id", r.sandbox_id}, {"session_id", r.session_id},   {"provider", r.provider},
      {"model", r.model},   {"calls", r.calls},           {"cost_micro", r.cost_micro},   {"input", r.input},
      {"output", r.output}, {"cache_read", r.cache_read}, {"cache_write", r.cache_write}, {"reasoning", r.reasoning}};
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
  return r;
}

json to_api(const usage_row& r) {
  json j = to_stored(r);
  j.erase("cost_micro");
  j["cost"] = static_cast<double>(r.cost_micro) / 1e6;
  return j;
}

std::string usage_book::add(std::int64_t time_us, const std::string& sandbox_id, const std::string& session_id,
                            const json& fact) {
  usage_row r;
  r.day = day_of(time_us);
  r.sandbox_id = sandbox_id;
  r.session_id = session_id;
  r.provider = fact.value("provider", "");
  r.model = fact.value("model", "");
  std::string id = r.day + "|" + sandbox_id + "|" + session_id + "|" + r.provider + "|" + r.model;
  auto& row = rows_.try_emplace(id, std::move(r)).first->second;
  const json tokens = fact.value("tokens", json::object());
  const auto add = [&tokens](std::int64_t& sum, const char* key) { sum += tokens.value(key, std::int64_t{0}); };
  ++row.calls;
  row.cost_micro += fact.value("cost_micros", std::int64_t{0});
  add(row.input, "input");
  add(row.output, "output");
  add(row.cache_read, "cache_read");
  add(row.cache_write, "cache_write");
  add(row.reasoning, "reasoning");
  return id;
}

}  // namespace caged::meter
