// The state of one call; whatever ends it, its reservation is settled.
#pragma once

#include <optional>

#include "counter.hpp"
#include "gateway.hpp"

namespace caged::transport_llm {

using steady = std::chrono::steady_clock;

struct model_call {
  explicit model_call(std::shared_ptr<gateway> owner) : home(std::move(owner)) {}
  ~model_call() { settle(); }
  model_call(const model_call&) = delete;

  std::shared_ptr<gateway> home;
  std::shared_ptr<http::exchange> exchange;
  std::string path;                    // without a provider's prefix
  endpoint where;
  spender who;
  std::string body;                    // as the client sent it, then as it goes out
  std::size_t request_bytes = 0;
  request_facts facts;
  std::shared_ptr<provider> chosen;    // first the wanted one, then the one that answered
  priced worth;
  bool clamped = false;
  std::optional<reservation> held;

  std::shared_ptr<http::upstream_answer> answer;
  std::optional<answer_counter> counter;
  int status = 0, attempts = 0;
  bool answering = false;              // the head went to the client
  std::string cut;                     // "client" or "upstream" when the answer broke off
  std::string problem;                 // why no answer came
  std::string kept_answer;             // for the record of bodies
  steady::time_point began = steady::now();
  std::optional<steady::time_point> first_byte;

  // Tells the purse what the call cost. Only the first call counts.
  void settle() noexcept;

 private:
  json fact(std::int64_t cost, const token_counts& tokens) const;
};

}  // namespace caged::transport_llm
