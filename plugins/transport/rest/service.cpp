#include "service.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <caged/random.hpp>

#include <algorithm>

#include "input.hpp"
#include "openapi.hpp"
#include "text.hpp"

namespace caged::rest {
namespace {

using namespace asio::experimental::awaitable_operators;

error no_credential(std::string message) {
  return fail(
      errc::unauthenticated, "no_credential", std::move(message),
      "Send \"Authorization: Bearer caged_sk_…\" or \"X-API-Key: caged_sk_…\"; the first key lies in admin.key in the "
      "server's data folder.");
}

std::string query_value(const http::request& head, std::string_view name) {
  for (const auto& [key, value] : head.query)
    if (key == name) return value;
  return {};
}

// Addresses end up in logs, histories and Referer headers, so a key there is as good as published.
bool has_key_in_query(const http::request& head) {
  return std::any_of(head.query.begin(), head.query.end(), [](const auto& pair) {
    return pair.second.starts_with("caged_sk_") || pair.first == "api_key" || pair.first == "apikey";
  });
}

// The key of the headers, "" when there is none.
result<std::string> credential_of(const http::request& head) {
  std::string key(head.field("x-api-key"));
  const auto field = head.field("authorization");
  if (field.empty()) return key;
  const auto blank = field.find(' ');
  if (blank == std::string_view::npos || !equal_ignoring_case(field.substr(0, blank), "bearer"))
    return no_credential("the Authorization header is not of the form \"Bearer KEY\"");
  auto bearer = field.substr(blank + 1);
  while (bearer.starts_with(' ')) bearer.remove_prefix(1);
  if (!key.empty() && key != bearer) return no_credential("the two key headers disagree");
  return std::string(bearer);
}

bool takes_json_body(const operation_info& info) {
  return info.takes == payload::document && (info.method == "POST" || info.method == "PUT" || info.method == "PATCH");
}

bool has_property(const operation_info& info, const char* name) {
  const auto it = info.input.find("properties");
  return it != info.input.end() && it->contains(name);
}

}  // namespace

service::service(operations& ops, http::front& front, service_options options,
                 std::function<void(log_level, std::string)> log)
    : operations_(ops),
      front_(front),
      options_(std::move(options)),
      log_(std::move(log)),
      limiter_(options_.requests_per_minute) {}

result<void> service::start() {
  const auto all = operations_.list();
  auto made = router::make(all);
  if (made.has_error()) return made.error();
  router_ = std::move(*made);
  openapi_ = to_text(openapi_document(all, options_.version));
  openapi_etag_ = "\"" + sha256_hex(openapi_).substr(0, 16) + "\"";
  return {};
}

void service::drain() {
  draining_ = true;
  const std::lock_guard guard(gates_lock_);
  for (const auto& weak : gates_)
    if (const auto gate = weak.lock()) {
      gate->closed = true;
      asio::post(gate->signal.get_executor(), [gate] { gate->signal.cancel(); });
    }
  gates_.clear();
}

asio::awaitable<void> service::handle(std::shared_ptr<service> self, std::shared_ptr<http::exchange> exchange) {
  const auto c = std::make_shared<request_context>();
  c->exchange = std::move(exchange);
  const auto given = c->exchange->head().field("x-request-id");
  c->id = is_request_id(given) ? std::string(given) : random_id("req-", 16);
  c->extra.emplace_back("X-Request-Id", c->id);
  c->extra.emplace_back("X-Content-Type-Options", "nosniff");
  auto done = co_await self->answer(c);
  if (done.has_error() && c->status == 0) co_await self->send_error(c, done.error(), 0);
  // A client that left before its answer is counted as what it is.
  self->metrics_.count(c->route, c->status == 0 ? 499 : c->status, std::chrono::steady_clock::now() - c->began);
}

bool service::own_route(const context_ptr& c) const {
  const auto& path = c->exchange->head().path;
  return path == "/healthz" || path == "/metrics" || path == "/openapi.json";
}

task<void> service::answer(context_ptr c) {
  const auto& head = c->exchange->head();
  if (has_key_in_query(head))
    co_return fail(errc::invalid_argument, "key_in_url", "the address holds an API key",
                   "Send the key in a header and revoke this one: addresses are logged. WebSockets take ?ticket= from "
                   "POST /v1/auth/socket-ticket.");
  if (own_route(c)) co_return co_await answer_own(c);
  auto match = router_.match(head.method, head.path);
  if (match.allowed.empty())
    co_return fail(errc::not_found, "no_such_route", "there is no route " + head.path,
                   "See /openapi.json for all routes.");
  if (match.operation == nullptr) {
    std::string allow;
    for (const auto& method : match.allowed) allow += (allow.empty() ? "" : ", ") + method;
    c->extra.emplace_back("Allow", allow);
    if (head.method == "OPTIONS") {
      http::response r;
      r.status = 204;
      co_return co_await send(c, std::move(r));
    }
    const error e = fail(errc::invalid_argument, "method_not_allowed", head.path + " does not take " + head.method,
                         "Use one of: " + allow + ".");
    co_return co_await send_error(c, e, 405);
  }
  c->operation = match.operation;
  c->parameters = std::move(match.parameters);
  c->route = c->operation->name;
  auto checked = co_await check_caller(c);
  if (checked.has_error() || c->status != 0) co_return checked;
  co_return co_await run_operation(c);
}

task<void> service::check_caller(context_ptr c) {
  const auto& head = c->exchange->head();
  const bool socket = c->operation->gives == payload::duplex;
  if (socket) {
    if (!c->exchange->wants_websocket()) {
      c->extra.emplace_back("Upgrade", "websocket");
      const error e = fail(errc::invalid_argument, "websocket_needed", head.path + " is a WebSocket",
                           "Open it with a WebSocket client (RFC 6455, version 13).");
      co_return co_await send_error(c, e, 426);
    }
    // Browsers attach no header to a WebSocket that we could ask for, so the page's origin is the guard.
    if (!front_.origin_allowed(head.field("origin"), head.field("host")))
      co_return fail(errc::permission_denied, "origin_refused",
                     "pages of " + std::string(head.field("origin")) + " may not open sockets here",
                     "Use this server's own pages, or add the origin to the server's configuration.");
  }
  auto key = credential_of(head);
  if (key.has_error()) co_return key.error();
  std::string ticket;
  if (socket) {
    ticket = query_value(head, "ticket");
    if (ticket.empty()) ticket = query_value(head, "token");
  }
  if (key->empty() && ticket.empty()) {
    if (c->operation->needs != scope::open) co_return no_credential("the request has no key");
  } else if (!ticket.empty()) {
    auto who = co_await operations_.redeem_ticket(ticket);
    if (who.has_error()) co_return who.error();
    c->who = std::move(*who);
  } else {
    auto who = co_await operations_.authenticate(*key);
    if (who.has_error()) co_return who.error();
    c->who = std::move(*who);
  }
  if (!limiter_.active() || c->who.key_id.empty()) co_return result<void>{};
  const auto verdict = limiter_.count(c->who.key_id, std::chrono::system_clock::now());
  c->extra.emplace_back("X-RateLimit-Limit", std::to_string(limiter_.limit()));
  c->extra.emplace_back("X-RateLimit-Remaining", std::to_string(verdict.remaining));
  c->extra.emplace_back("X-RateLimit-Reset", std::to_string(verdict.reset));
  if (verdict.allowed) co_return result<void>{};
  co_return fail(errc::limit_exceeded, "rate_limited",
                 "this key made " + std::to_string(limiter_.limit()) + " requests within a minute",
                 "Wait until the time in X-RateLimit-Reset.");
}

task<json> service::read_arguments(context_ptr c, std::shared_ptr<call> into) {
  const auto& info = *c->operation;
  const auto& head = c->exchange->head();
  std::vector<std::string> skip;
  if (info.gives == payload::duplex) skip = {"ticket", "token"};
  auto query = query_arguments(info, head, skip);
  if (query.has_error()) co_return query.error();
  const auto range = head.field("range");
  if (!range.empty() && info.gives == payload::bytes && has_property(info, "range") && !query->contains("range"))
    (*query)["range"] = std::string(range);
  json document;
  const auto type = media_type_of(head.field("content-type"));
  const bool as_json = takes_json_body(info) || (info.takes == payload::bytes && type == "application/json");
  if (info.takes == payload::bytes && !as_json) {
    into->media_type = type;
    into->body = c->exchange->body();
  } else if (as_json) {
    auto text = co_await c->exchange->read_body(options_.json_body_bytes);
    if (text.has_error()) co_return text.error();
    if (!text->empty()) {
      if (!is_json(type))
        co_return fail(
            errc::invalid_argument, "unsupported_media_type",
            type.empty() ? "the body has no Content-Type" : "the body is " + type + ", expected application/json",
            "Send JSON with Content-Type: application/json.");
      auto parsed = parse_json(*text);
      if (parsed.has_error()) co_return parsed.error();
      document = std::move(*parsed);
      if (document.is_null())
        co_return fail(errc::invalid_argument, "not_an_object", "the body is null, expected an object",
                       "Send a JSON object.");
    }
  }
  co_return merge_arguments(info, c->parameters, std::move(*query), std::move(document));
}

task<void> service::run_operation(context_ptr c) {
  const auto work = std::make_shared<call>();
  auto arguments = co_await read_arguments(c, work);
  if (arguments.has_error()) co_return arguments.error();
  const auto& info = *c->operation;
  work->operation = info.name;
  work->arguments = std::move(*arguments);
  work->who = c->who;
  work->transport = "rest";
  work->agent = c->exchange->head().field("x-caged-agent");
  work->client = c->exchange->head().field("user-agent");
  if (info.gives == payload::duplex) co_return co_await run_socket(c, std::move(*work));
  if (info.gives == payload::items) {
    work->resume_after = c->exchange->head().field("last-event-id");
    if (work->resume_after.size() > 128)
      co_return fail(errc::invalid_argument, "bad_event_id", "Last-Event-ID is longer than 128 bytes",
                     "Send the id of an event.");
  }
  auto outcome = co_await invoke_watched(c, std::move(*work));
  if (outcome.has_error()) co_return outcome.error();
  if (info.gives == payload::items && outcome->items) co_return co_await send_items(c, std::move(*outcome));
  if (info.gives == payload::bytes && outcome->bytes) co_return co_await send_bytes(c, std::move(*outcome));
  co_return co_await send_document(c, std::move(*outcome));
}

namespace {

// An exception would make the wait below wait for the client to leave.
task<reply> guarded_invoke(operations& ops, call work) {
  const std::string name = work.operation;
  std::string what;
  try {
    co_return co_await ops.invoke(std::move(work));
  } catch (const std::exception& e) {
    what = e.what();
  }
  co_return fail(errc::internal, "operation_failed", "the operation " + name + " failed because of a bug: " + what,
                 "Look into the server's log and report it.");
}

}  // namespace

task<reply> service::invoke_watched(context_ptr c, call work) {
  // What changes something is finished even when nobody waits for the answer any more; a look is given up.
  if (!c->operation->read_only || c->operation->gives != payload::document)
    co_return co_await operations_.invoke(std::move(work));
  auto invoking = guarded_invoke(operations_, std::move(work));
  auto leaving = c->exchange->wait_closed();
  auto first = co_await (std::move(invoking) || std::move(leaving));
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  co_return fail(errc::cancelled, "client_gone", "the client is gone", "");
}

}  // namespace caged::rest
