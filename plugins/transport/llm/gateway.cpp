#include "gateway.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <ctime>

#include "model_call.hpp"

namespace caged::transport_llm {
namespace {

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

// The sandbox's token, wherever the provider's clients put their key.
std::string token_in(const http::request& head) {
  for (const char* name : {"x-api-key", "x-goog-api-key", "api-key"})
    if (const auto value = head.field(name); !value.empty()) return std::string(value);
  auto field = head.field("authorization");
  if (field.size() > 7 && (field.starts_with("Bearer ") || field.starts_with("bearer ")))
    return std::string(field.substr(7));
  for (const auto& [name, value] : head.query)
    if (name == "key") return value;
  return {};
}

error unknown_path(const http::request& head) {
  return fail(errc::not_found, "not_metered",
              head.method + " " + head.path + " is none of the calls that this gateway can meter",
              "Use messages, chat/completions, responses, completions, embeddings, generateContent or models.");
}

}  // namespace

asio::awaitable<void> gateway::handle(std::shared_ptr<gateway> self, std::shared_ptr<http::exchange> exchange) {
  auto c = std::make_shared<model_call>(self);
  c->exchange = std::move(exchange);
  auto done = co_await self->answer(c);
  if (done || c->answering) co_return;
  const error e = done.error();
  if (e.code == errc::cancelled) co_return;
  if (e.code == errc::limit_exceeded || e.code == errc::permission_denied) self->note_refusal(*c, e);
  (void)co_await c->exchange->respond(refusal(c->where.kind, e));
}

task<void> gateway::answer(call_ptr c) {
  const auto& head = c->exchange->head();
  if (head.path == "/" || head.path == "/healthz") {
    http::response r;
    r.fields = {{"Content-Type", "application/json"}};
    r.body = "{\"status\":\"ok\"}";
    co_return co_await c->exchange->respond(std::move(r));
  }
  c->path = head.path;
  std::string wanted;
  if (c->path.starts_with("/providers/")) {
    const auto end = c->path.find('/', 11);
    wanted = c->path.substr(11, end - 11);
    c->path = end == std::string::npos ? "/" : c->path.substr(end);
  }
  const bool says_anthropic = !head.field("anthropic-version").empty();
  auto found = find_endpoint(head.method, c->path, says_anthropic);
  if (!found) {
    c->where.kind = says_anthropic ? "anthropic" : c->path.starts_with("/v1beta") ? "gemini" : "openai";
    co_return unknown_path(head);
  }
  c->where = std::move(*found);
  auto who = money_.resolve(token_in(head));
  if (!who) co_return who.error();
  // A token that leaked into another sandbox spends nobody's money from there.
  if (!head.sandbox_id.empty() && head.sandbox_id != who->sandbox_id)
    co_return fail(errc::unauthenticated, "foreign_token", "the token belongs to another sandbox",
                   "Use the CAGED_LLM_TOKEN of this sandbox.");
  c->who = std::move(*who);
  if (!wanted.empty()) {
    const auto named = options_.providers.find(wanted);
    if (named == options_.providers.end() || named->second->kind != c->where.kind)
      co_return fail(errc::not_found, "no_such_provider", "there is no provider \"" + wanted + "\" for this call",
                     "Name one of the server's configuration.");
    c->chosen = named->second;
  }
  if (head.method != "GET")
    if (auto read = co_await read_request(c); !read) co_return read.error();
  if (!c->chosen)
    if (auto chosen = find_provider(c); !chosen) co_return chosen.error();
  if (c->where.what != api::free) {
    if (auto kept = co_await set_aside(c); !kept) co_return kept.error();
    if (c->where.what == api::chat && c->facts.stream && !c->facts.asks_usage && c->chosen->stream_usage) {
      const json document = json::parse(c->body);
      c->body = with_stream_usage(c->body, document);
    }
  }
  co_return co_await relay(c);
}

task<void> gateway::read_request(call_ptr c) {
  auto text = co_await c->exchange->read_body(options_.body_bytes);
  if (!text) co_return text.error();
  c->body = std::move(*text);
  c->request_bytes = c->body.size();
  if (c->where.what == api::free) co_return result<void>{};
  if (!c->exchange->head().field("content-encoding").empty())
    co_return fail(errc::invalid_argument, "compressed_request", "the request is compressed and cannot be metered",
                   "Send it as it is.");
  // A document that readers could take differently (a member twice) is no document.
  auto document = parse_json(c->body);
  if (!document) co_return document.error();
  auto facts = inspect(c->where, c->body, *document);
  if (!facts) co_return facts.error();
  c->facts = std::move(*facts);
  co_return result<void>{};
}

result<void> gateway::find_provider(call_ptr c) {
  std::shared_ptr<provider> any;
  for (const auto& [name, p] : options_.providers) {
    if (p->kind != c->where.kind) continue;
    if (p->models.empty() && !any) any = p;
    for (const auto& pattern : p->models) {
      if (!matches(pattern, c->facts.model)) continue;
      c->chosen = p;
      return {};
    }
  }
  c->chosen = any;
  if (any) return {};
  return fail(errc::not_found, "no_provider",
              "no provider of kind " + c->where.kind + " takes the model \"" + c->facts.model + "\"",
              "Add one under plugins.transport.llm.providers in the server's configuration.");
}

task<void> gateway::set_aside(call_ptr c) {
  auto& f = c->facts;
  c->worth = options_.prices.find(c->chosen->kind, f.model, today());
  if (c->chosen->free) c->worth = {price{}, true, "free"};
  if (!c->worth.known && options_.refuse_unknown)
    co_return fail(errc::permission_denied, "unknown_model", "the model \"" + f.model + "\" has no price",
                   "Add it under plugins.transport.llm.prices.");
  const price& p = c->worth.what;
  const auto caches = f.writes_cache ? caching::writes : caching::none;
  const auto input = f.worst_input < 0 ? p.context : std::min(f.worst_input, p.context);
  const auto output = f.max_output.value_or(p.max_output) * f.choices;
  reserve_request want;
  want.most_micro = worst_case_micro(p, input, output, caches);
  want.least_micro = want.most_micro;
  const bool may_clamp = options_.clamp && output > 0 && p.normal.output > 0;
  if (may_clamp)
    want.least_micro = worst_case_micro(p, input, std::min(output, options_.least_output * f.choices), caches);
  want.patience = options_.patience;
  want.about = {{"provider", c->chosen->name},
                {"model", f.model},
                {"api", to_string(c->where.what)},
                {"stream", f.stream},
                {"input_tokens", static_cast<std::int64_t>(c->request_bytes / 4)},
                {"max_output_tokens", output},
                {"price_known", c->worth.known}};
  const auto most = want.most_micro;
  auto held = co_await money_.reserve(c->who, std::move(want));
  if (!held) co_return held.error();
  c->held = std::move(*held);
  if (c->held->amount_micro < most) {
    f.max_output = output_that_fits(p, input, c->held->amount_micro, caches) / f.choices;
    c->clamped = true;
    c->body = with_max_output(c->where.what, c->body, *f.max_output);
  }
  co_return result<void>{};
}

// A refused call costs nothing and has no reservation; it is a fact all the same.
void gateway::note_refusal(const model_call& c, const error& e) {
  if (c.who.sandbox_id.empty() || !c.chosen) return;
  event fact;
  fact.sandbox_id = c.who.sandbox_id;
  fact.session_id = c.who.session_id;
  fact.type = "llm_call";
  fact.data = {{"api", to_string(c.where.what)},
               {"provider", c.chosen->name},
               {"model", c.facts.model},
               {"outcome", "refused"},
               {"cost", 0.0},
               {"cost_micros", 0},
               {"tokens", to_json(token_counts{})},
               {"reason", e.reason},
               {"message", e.message}};
  events_.publish(std::move(fact));
}

}  // namespace caged::transport_llm
