#include "model_call.hpp"

namespace caged::transport_llm {
namespace {

constexpr std::size_t kept_body = 256u << 10;

std::int64_t milliseconds_between(steady::time_point a, steady::time_point b) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(b - a).count();
}

}  // namespace

json model_call::fact(std::int64_t cost, const token_counts& tokens) const {
  const bool failed = status < 200 || status > 299;
  json j{{"api", to_string(where.what)},
         {"provider", chosen->name},
         {"model", facts.model},
         {"tokens", to_json(tokens)},
         {"cost", static_cast<double>(cost) / 1e6},
         {"latency_ms", milliseconds_between(began, steady::now())},
         {"outcome", failed        ? "error"
                     : cut.empty() ? "ok"
                                   : "cut"},
         {"status", status},
         {"stream", facts.stream},
         {"attempts", attempts},
         {"reserved_micro", held->amount_micro},
         {"price_rule", worth.rule},
         {"price_known", worth.known},
         {"estimated", !failed && !(counter && counter->exact())}};
  j["input_tokens"] = tokens.prompt();
  j["output_tokens"] = tokens.output;
  if (!worth.what.since.empty()) j["price_since"] = worth.what.since;
  j["time_to_first_token_ms"] = first_byte ? json(milliseconds_between(began, *first_byte)) : json(nullptr);
  if (counter && !counter->model().empty() && counter->model() != facts.model) j["answered_by"] = counter->model();
  if (counter && !counter->response_id().empty()) j["response_id"] = counter->response_id();
  if (!cut.empty()) j["cut_by"] = cut;
  if (!problem.empty()) j["message"] = problem;
  if (clamped) j["clamped_to"] = *facts.max_output;
  if (home->options().record_bodies) {
    j["request"] = body.substr(0, kept_body);
    j["answer"] = kept_answer;
  }
  return j;
}

void model_call::settle() noexcept {
  if (!held) return;
  try {
    token_counts tokens;
    const bool answered = status >= 200 && status <= 299;
    if (counter && answered) {
      (void)counter->finish();
      tokens = counter->tokens(request_bytes);
    }
    // Nobody knows what a provider did for a client that left before the answer began: its prompt was read.
    if (cut == "client" && status == 0 && attempts > 0)
      tokens.input = static_cast<std::int64_t>((request_bytes + 2) / 3);
    std::int64_t cost = chosen->free ? 0 : cost_micro(worth.what, tokens);
    // An estimate never costs more than the worst case; what a provider says does.
    if (!(counter && counter->exact())) cost = std::min(cost, held->amount_micro);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(steady::now() - began);
    home->money().settle(*held, cost, fact(cost, tokens), took);
  } catch (const std::exception&) {
    // Out of memory: the reservation stays, and is settled at its worst case when the host starts again.
  }
  held.reset();
}

}  // namespace caged::transport_llm
