// Usage, customers and subscriptions in Stripe; what was sent is kept in the host's storage.
#pragma once

#include <caged/billing.hpp>
#include <caged/http.hpp>
#include <caged/storage.hpp>

#include "api.hpp"

namespace caged::billing::stripe {

// Records: stripe_line, what was sent of a usage line; stripe_parcel, what is being sent, with the key that makes Stripe
// take it once; stripe_state, the customer and the subscription; stripe_event, webhooks seen.
//
// A parcel is stored before it is sent and sent until it is answered, always with the same identifier and idempotency
// key; its lines count as sent in the commit that takes it away. Stripe keeps both for at least a day: a host that was
// dead for longer between sending and hearing the answer may bill one parcel twice, which its log then says.
class provider : public billing_provider, public billing_subscriptions {
 public:
  provider(host& h, const json& config);

  task<void> open() override;
  task<void> serve() override;
  task<void> drain() override;
  task<void> report(std::vector<usage_line> lines) override;
  task<json> subscription() override;
  task<std::string> checkout(std::string plan_id) override;
  task<std::string> portal() override;
  task<void> cancel() override;
  void* find_extension(std::string_view name) noexcept override;

 private:
  task<json> call(std::string method, std::string path, form fields, std::string idempotency);
  task<json> state();
  task<void> keep_state(json changed);
  task<std::string> customer();
  task<void> send_parcel();
  task<void> take_event(json event);
  asio::awaitable<void> on_webhook(std::shared_ptr<http::exchange> x);

  host& host_;
  json config_;
  api_access access_;
  std::string webhook_secret_;
  storage* records_ = nullptr;
  http::front* front_ = nullptr;
  bool routed_ = false;
};

}  // namespace caged::billing::stripe
