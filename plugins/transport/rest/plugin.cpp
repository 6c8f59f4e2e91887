// The REST transport as a plugin.
#include <caged/define_plugin.hpp>

#include "service.hpp"

namespace caged::rest {
namespace {

class rest_transport final : public transport {
 public:
  rest_transport(host& h, const json& config) : host_(h) {
    options_.json_body_bytes = config.value("json_body_bytes", options_.json_body_bytes);
    options_.websocket_message_bytes = config.value("websocket_message_bytes", options_.websocket_message_bytes);
    options_.keep_alive = std::chrono::milliseconds(static_cast<int>(1000 * config.value("keep_alive_seconds", 15.0)));
    options_.requests_per_minute = config.value("requests_per_minute", 0);
    options_.version = CAGED_SDK_VERSION;
  }

  task<void> open() override {
    auto* ops = host_.service<operations>();
    front_ = host_.service<http::front>();
    if (ops == nullptr || front_ == nullptr)
      co_return fail(errc::unavailable, "service_missing", "the host has no operations or no HTTP front",
                     "Load the REST transport in `caged serve`.");
    auto* to = &host_;
    service_ = std::make_shared<service>(*ops, *front_, options_,
                                         [to](log_level level, std::string text) { to->log(level, text); });
    co_return result<void>{};
  }

  task<void> serve() override {
    auto started = service_->start();
    if (started.has_error()) co_return started;
    auto routed = front_->route("", "/", [self = service_](std::shared_ptr<http::exchange> exchange) {
      return service::handle(self, std::move(exchange));
    });
    routed_ = routed.has_value();
    co_return routed;
  }

  task<void> drain() override {
    if (service_) service_->drain();
    co_return result<void>{};
  }

  task<void> close() override {
    if (routed_) front_->unroute("", "/");
    routed_ = false;
    service_.reset();
    co_return result<void>{};
  }

 private:
  host& host_;
  service_options options_;
  http::front* front_ = nullptr;
  std::shared_ptr<service> service_;
  bool routed_ = false;
};

}  // namespace
}  // namespace caged::rest

CAGED_PLUGIN(caged::rest::rest_transport, .summary = "REST, Server-Sent Events and WebSockets under /v1",
             .offers = CAGED_OFFERS_ROUTES, .needs = CAGED_NEEDS_OPERATIONS | CAGED_NEEDS_HTTP_FRONT)
