// What was used and what it cost, by day, sandbox, session and item: rows that are stored with the facts they sum up.
#pragma once

#include <caged/billing.hpp>
#include <caged/json.hpp>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace caged::meter {

// The provider of rows that are no model calls; their models are "compute" and "egress".
inline constexpr const char* own_provider = "caged";

struct usage_row {
  std::string day;  // "2026-01-31", UTC
  std::string sandbox_id, session_id, provider, model;
  std::int64_t calls = 0, cost_micro = 0;
  std::int64_t input = 0, output = 0, cache_read = 0, cache_write = 0,
               reasoning = 0;  // tokens; reasoning is part of output
  std::int64_t quantity = 0;   // compute: microseconds; egress: bytes

  bool is_model() const noexcept { return provider != own_provider; }
};

json to_stored(const usage_row& row);
usage_row usage_from_stored(const json& body);
// As the API shows it.
json to_api(const usage_row& row);
// As billing plugins get it.
usage_line to_line(const std::string& id, const usage_row& row);

std::string day_of(std::int64_t time_us);
// A stretch of time cut at midnights (UTC): what falls on which day. Empty when it does not end after its begin.
std::vector<std::pair<std::string, std::int64_t>> by_day(std::int64_t from_us, std::int64_t to_us);

// What one session or sandbox cost.
struct usage_sum {
  std::int64_t compute_micro = 0, egress_micro = 0, model_micro = 0, running_us = 0;
  std::int64_t total() const noexcept { return compute_micro + egress_micro + model_micro; }
};

// The rows of this host. On the loop thread.
class usage_book {
 public:
  void load(std::string id, usage_row row);
  // Adds one call ("llm_call" fact) and returns the id of the row it went to.
  std::string add(std::int64_t time_us, const std::string& sandbox_id, const std::string& session_id, const json& fact);
  // Adds computing or egress; the row has to be stored with the sandbox's record: take_unsaved().
  void add_own(const std::string& day, const std::string& sandbox_id, const std::string& session_id, const char* item,
               std::int64_t quantity, std::int64_t cost_micro);
  // Rows of the sandbox that were changed since they were last taken; put back by unsaved() when storing failed.
  std::vector<std::string> take_unsaved(const std::string& sandbox_id);
  void unsaved(const std::string& sandbox_id, const std::vector<std::string>& ids);
  // Rows changed since they were last taken, for billing; put back by changed().
  std::set<std::string> take_changed() { return std::exchange(changed_, {}); }
  void changed(std::string id) { changed_.insert(std::move(id)); }

  const usage_row& row(const std::string& id) const { return rows_.at(id); }
  const std::map<std::string, usage_row>& rows() const noexcept { return rows_; }
  std::vector<const usage_row*> rows_of_session(const std::string& session_id) const;
  usage_sum session(const std::string& session_id) const;
  const usage_sum& total() const noexcept { return total_; }
  // Microseconds of computing since the first of this month.
  std::int64_t month_running_us(std::int64_t now_us) const;

 private:
  usage_row& at(const std::string& id, usage_row fresh);
  void count(usage_sum& sum, const usage_row& row, std::int64_t quantity, std::int64_t cost_micro);

  std::map<std::string, usage_row> rows_;  // by day|sandbox|session|provider|model
  std::unordered_map<std::string, std::vector<std::string>> by_session_;
  std::unordered_map<std::string, usage_sum> sums_;  // by session
  usage_sum total_;
  std::map<std::string, std::set<std::string>> unsaved_;  // by sandbox
  std::set<std::string> changed_;
};

}  // namespace caged::meter
