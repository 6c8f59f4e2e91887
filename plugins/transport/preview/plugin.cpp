// Previews as a plugin: a web server in a sandbox, seen from a browser.
#include <caged/define_plugin.hpp>

#include "proxy.hpp"

namespace caged::transport_preview {
namespace {

class preview_transport final : public transport {
 public:
  preview_transport(host& h, const json& config) : host_(h) {
    options_.domain = config.value("domain", options_.domain);
    options_.url = config.value("url", "");
    options_.requests_per_minute = config.value("requests_per_minute", options_.requests_per_minute);
    options_.wake = config.value("wake", true) ? waking::on_request : waking::never;
  }

  task<void> open() override {
    access_ = host_.service<preview_access>();
    front_ = host_.service<http::front>();
    if (access_ == nullptr || front_ == nullptr)
      co_return fail(errc::unavailable, "service_missing", "the host has no way into sandboxes or no HTTP front",
                     "Load previews in `caged serve`.");
    proxy_ = std::make_shared<proxy>(options_, *access_, *front_);
    co_return result<void>{};
  }

  task<void> serve() override {
    auto routed = front_->route(options_.domain, "/", [self = proxy_](std::shared_ptr<http::exchange> exchange) {
      return proxy::handle(self, std::move(exchange));
    });
    routed_ = routed.has_value();
    if (routed_) access_->offer_urls([self = proxy_](std::string_view id, int port) { return self->url(id, port); });
    co_return routed;
  }

  task<void> close() override {
    if (routed_) {
      front_->unroute(options_.domain, "/");
      access_->offer_urls({});
    }
    routed_ = false;
    proxy_.reset();
    co_return result<void>{};
  }

 private:
  host& host_;
  proxy_options options_;
  preview_access* access_ = nullptr;
  http::front* front_ = nullptr;
  std::shared_ptr<proxy> proxy_;
  bool routed_ = false;
};

}  // namespace
}  // namespace caged::transport_preview

CAGED_PLUGIN(caged::transport_preview::preview_transport,
             .summary = "Previews: ports of sandboxes at addresses of their own", .offers = CAGED_OFFERS_ROUTES,
             .needs = CAGED_NEEDS_HTTP_FRONT)
