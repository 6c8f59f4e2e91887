// The LLM gateway as a plugin: sandboxes call models through it and never see a provider's key.
#include <caged/define_plugin.hpp>

#include "gateway.hpp"

namespace caged::transport_llm {
namespace {

class llm_transport final : public transport {
 public:
  llm_transport(host& h, const json& config) : host_(h), config_(config) {}

  task<void> open() override {
    auto options = read_options(host_.executor(), config_);
    if (!options) co_return options.error();
    if (options->providers.empty()) co_return result<void>{};
    auto* money = host_.service<spending>();
    auto* events = host_.service<event_sink>();
    front_ = host_.service<http::front>();
    if (money == nullptr || events == nullptr || front_ == nullptr)
      co_return fail(errc::unavailable, "service_missing", "the host has no purse, no journal or no HTTP front",
                     "Load the gateway in `caged serve`.");
    money->offer_environment(environment_of(*options));
    host_.log(log_level::info,
              std::to_string(options->providers.size()) + " providers; price table " + options->prices.version());
    auto* to = &host_;
    gateway_ = std::make_shared<gateway>(std::move(*options), *money, *events,
                                         [to](log_level level, std::string text) { to->log(level, text); });
    co_return result<void>{};
  }

  task<void> serve() override {
    if (!gateway_) co_return result<void>{};
    const auto name = gateway_->options().host;
    auto routed = front_->route(name, "/", [self = gateway_](std::shared_ptr<http::exchange> exchange) {
      return gateway::handle(self, std::move(exchange));
    });
    routed_ = routed.has_value();
    co_return routed;
  }

  task<void> close() override {
    if (routed_) front_->unroute(gateway_->options().host, "/");
    routed_ = false;
    gateway_.reset();
    co_return result<void>{};
  }

 private:
  host& host_;
  const json config_;
  http::front* front_ = nullptr;
  std::shared_ptr<gateway> gateway_;
  bool routed_ = false;
};

}  // namespace
}  // namespace caged::transport_llm

CAGED_PLUGIN(caged::transport_llm::llm_transport,
             .summary = "LLM gateway: meters model calls of sandboxes, keeps the keys on the host",
             .offers = CAGED_OFFERS_ROUTES, .needs = CAGED_NEEDS_HTTP_FRONT | CAGED_NEEDS_EVENT_SINK)
