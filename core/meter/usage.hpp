// What was spent on models, by day, sandbox, session and model: rows that are stored with the event of each call.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <map>
#include <string>

namespace caged::meter {

struct usage_row {
  std::string day;  // "2026-01-31", UTC
  std::string sandbox_id, session_id, provider, model;
  std::int64_t calls = 0, cost_micro = 0;
  std::int64_t input = 0, output = 0, cache_read = 0, cache_write = 0,
               reasoning = 0;  // tokens; reasoning is part of output
};

json to_stored(const usage_row& row);
usage_row usage_from_stored(const json& body);
// As the API shows it.
json to_api(const usage_row& row);

// The rows of this host. On the loop thread.
class usage_book {
 public:
  void load(std::string id, usage_row row) { rows_[std::move(id)] = std::move(row); }
  // Adds one call ("llm_call" fact) and returns the id of the row it went to.
  std::string add(std::int64_t time_us, const std::string& sandbox_id, const std::string& session_id, const json& fact);
  const usage_row& row(const std::string& id) const { return rows_.at(id); }
  const std::map<std::string, usage_row>& rows() const noexcept { return rows_; }

 private:
  std::map<std::string, usage_row> rows_;  // by day|sandbox|session|provider|model
};

}  // namespace caged::meter
