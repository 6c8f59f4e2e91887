// One model call after another: who asks, what it may cost, whom to ask, what came back.
#pragma once

#include <caged/event.hpp>
#include <caged/host.hpp>
#include <caged/http.hpp>
#include <caged/spending.hpp>

#include "options.hpp"

namespace caged::transport_llm {

struct model_call;

// Shared by all calls; a call keeps it alive.
class gateway : public std::enable_shared_from_this<gateway> {
 public:
  gateway(gateway_options options, spending& money, event_sink& events, std::function<void(log_level, std::string)> log)
      : options_(std::move(options)), money_(money), events_(events), log_(std::move(log)) {}

  // The handler for the front.
  static asio::awaitable<void> handle(std::shared_ptr<gateway> self, std::shared_ptr<http::exchange> exchange);

  const gateway_options& options() const noexcept { return options_; }
  spending& money() noexcept { return money_; }

 private:
  using call_ptr = std::shared_ptr<model_call>;
  // gateway.cpp: before the provider is asked
  task<void> answer(call_ptr c);
  result<void> find_provider(call_ptr c);
  task<void> read_request(call_ptr c);
  task<void> set_aside(call_ptr c);
  void note_refusal(const model_call& c, const error& e);
  // relay.cpp: asking, and passing the answer on
  task<void> relay(call_ptr c);
  task<void> ask(call_ptr c);
  task<void> attempt(call_ptr c, std::shared_ptr<provider> p, bool last);
  task<void> pass_on(call_ptr c);
  http::upstream_request request_for(const model_call& c, const provider& p) const;

  const gateway_options options_;
  spending& money_;
  event_sink& events_;
  const std::function<void(log_level, std::string)> log_;
};

}  // namespace caged::transport_llm
