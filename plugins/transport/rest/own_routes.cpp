// /healthz, /metrics and /openapi.json.
#include "service.hpp"

namespace caged::rest {

task<void> service::answer_own(context_ptr c) {
  const auto& head = c->exchange->head();
  c->route = head.path.substr(1);
  http::response r;
  if (head.method != "GET" && head.method != "HEAD") {
    c->extra.emplace_back("Allow", "GET, HEAD, OPTIONS");
    if (head.method == "OPTIONS") {
      r.status = 204;
      co_return co_await send(c, std::move(r));
    }
    const error e =
        fail(errc::invalid_argument, "method_not_allowed", head.path + " does not take " + head.method, "Use GET.");
    co_return co_await send_error(c, e, 405);
  }
  if (head.path == "/healthz") {
    const bool down = draining_;
    r.status = down ? 503 : 200;
    r.fields = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
    r.body = to_text({{"status", down ? "draining" : "ok"}, {"version", options_.version}});
    co_return co_await send(c, std::move(r));
  }
  if (head.path == "/openapi.json") {
    const bool known = head.field("if-none-match") == openapi_etag_;
    r.status = known ? 304 : 200;
    r.fields = {{"Content-Type", "application/json"}, {"ETag", openapi_etag_}, {"Cache-Control", "no-cache"}};
    if (!known) r.body = openapi_;
    co_return co_await send(c, std::move(r));
  }
  // Counters tell what others do, so they need a key like everything else that looks.
  static const operation_info metrics_operation = [] {
    operation_info info;
    info.name = "http.metrics";
    info.needs = scope::read;
    return info;
  }();
  c->operation = &metrics_operation;
  auto checked = co_await check_caller(c);
  if (checked.has_error()) co_return checked;
  if (!c->who.sandbox_id.empty())
    co_return fail(errc::permission_denied, "scope", "this credential is good for one sandbox only",
                   "Use a key of the account.");
  auto text = co_await metrics_text(c);
  if (text.has_error()) co_return text.error();
  r.fields = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}, {"Cache-Control", "no-store"}};
  r.body = std::move(*text);
  co_return co_await send(c, std::move(r));
}

task<std::string> service::metrics_text(context_ptr c) {
  std::string out;
  write_family(out, "caged_build_info", "gauge", "The version of this server.");
  write_sample(out, "caged_build_info", "version", options_.version, 1);
  if (const auto* server = dynamic_cast<const http::server*>(&front_)) {
    const auto now = server->statistics();
    write_family(out, "caged_http_connections", "gauge", "Open connections.");
    write_sample(out, "caged_http_connections", {}, {}, static_cast<double>(now.connections));
    write_family(out, "caged_http_connections_total", "counter", "Connections accepted.");
    write_sample(out, "caged_http_connections_total", {}, {}, static_cast<double>(now.accepted));
    write_family(out, "caged_http_connections_refused_total", "counter", "Connections over the limit.");
    write_sample(out, "caged_http_connections_refused_total", {}, {}, static_cast<double>(now.turned_away));
    write_family(out, "caged_http_malformed_total", "counter", "Requests refused before any route saw them.");
    write_sample(out, "caged_http_malformed_total", {}, {}, static_cast<double>(now.refused));
  }
  write_family(out, "caged_http_streams", "gauge", "Event streams and WebSockets that are open.");
  write_sample(out, "caged_http_streams", {}, {}, streams_);
  metrics_.write(out);
  write_process(out);
  if (operations_.find("sandbox.list") != nullptr) {
    call work;
    work.operation = "sandbox.list";
    work.who = c->who;
    work.transport = "rest";
    const auto list = co_await operations_.invoke(std::move(work));
    if (list.has_value()) write_sandboxes(out, list->body);
  }
  co_return out;
}

}  // namespace caged::rest
