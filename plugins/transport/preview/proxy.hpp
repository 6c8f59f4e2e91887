// Requests for a port of a sandbox, passed in and their answers out.
#pragma once

#include <caged/host.hpp>
#include <caged/http.hpp>
#include <caged/http_upstream.hpp>
#include <caged/preview_access.hpp>
#include <map>

namespace caged::transport_preview {

struct proxy_options {
  std::string domain = "preview.localhost", url;
  int requests_per_minute = 100;
  waking wake = waking::on_request;
};

class proxy : public std::enable_shared_from_this<proxy> {
 public:
  proxy(proxy_options options, preview_access& access, http::front& front);

  static asio::awaitable<void> handle(std::shared_ptr<proxy> self, std::shared_ptr<http::exchange> exchange);
  // "http://cage-…-3000.preview.localhost:8080"; "" before the host listens.
  std::string url(std::string_view id, int port) const;
  const proxy_options& options() const noexcept { return options_; }

  // "cage-x-3000.preview.localhost" → its sandbox and port.
  static std::optional<std::pair<std::string, int>> target_of(std::string_view host, std::string_view domain);

 private:
  struct visit {
    std::shared_ptr<http::exchange> exchange;
    std::string id;
    int port = 0;
  };
  using visit_ptr = std::shared_ptr<visit>;
  task<void> answer(visit_ptr v);
  // Whether the visitor may pass; otherwise it has been answered.
  task<bool> pass_guard(visit_ptr v, preview_door door);
  task<void> forward(visit_ptr v);
  task<void> pass_answer(visit_ptr v, std::shared_ptr<http::upstream_answer> answer);
  task<void> pass_socket(visit_ptr v, std::shared_ptr<http::upstream_answer> answer);
  http::upstream_request request_of(const visit& v) const;
  bool within_rate(const visit& v);
  std::string pass_for(const visit& v, const preview_door& door) const;

  const proxy_options options_;
  preview_access& access_;
  http::front& front_;
  const std::string cookie_key_;  // of this run
  std::int64_t window_ = 0;
  std::map<std::pair<std::string, int>, int> used_;  // requests in this minute
};

}  // namespace caged::transport_preview
