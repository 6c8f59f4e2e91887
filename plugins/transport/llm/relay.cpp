// Asking the provider, again and elsewhere where that helps, and passing its answer on as it comes.
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

#include "model_call.hpp"

namespace caged::transport_llm {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::size_t kept_answer_bytes = 256u << 10;
constexpr auto longest_pause = std::chrono::seconds(5);

bool one_of(std::string_view name, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Of the connection, or of the sandbox's own credential: not the provider's business.
bool stays_here(std::string_view name) {
  return one_of(name, {"host",
                       "connection",
                       "content-length",
                       "transfer-encoding",
                       "keep-alive",
                       "te",
                       "trailer",
                       "upgrade",
                       "expect",
                       "proxy-authorization",
                       "proxy-connection",
                       "authorization",
                       "x-api-key",
                       "x-goog-api-key",
                       "api-key",
                       "accept-encoding",
                       "cookie",
                       "forwarded",
                       "x-forwarded-for",
                       "x-forwarded-host",
                       "x-forwarded-proto"});
}

bool goes_back(std::string_view name) {
  return !one_of(name, {"connection", "transfer-encoding", "keep-alive", "trailer", "upgrade", "set-cookie",
                        "content-length", "alt-svc", "strict-transport-security"});
}

bool worth_another_try(int status) {
  return one_of(std::to_string(status), {"408", "429", "500", "502", "503", "504", "529"});
}

std::string query_without_key(const http::request& head) {
  std::string query;
  const auto mark = head.target.find('?');
  if (mark == std::string::npos) return query;
  std::string_view rest = std::string_view(head.target).substr(mark + 1);
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const auto pair = rest.substr(0, end);
    if (!pair.starts_with("key=")) query.append(query.empty() ? "?" : "&").append(pair);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return query;
}

// What the provider asks for, when it is short; nullopt when waiting that long is the client's business.
std::optional<std::chrono::milliseconds> pause_before(const http::client_head* head, int attempt) {
  std::chrono::milliseconds pause(250 << std::min(attempt, 4));
  if (head != nullptr) {
    const auto asked = head->field("retry-after");
    if (!asked.empty() && asked.size() < 6 && asked.find_first_not_of("0123456789") == std::string_view::npos) {
      pause = std::chrono::seconds(std::stoi(std::string(asked)));
      if (pause > longest_pause) return std::nullopt;
    }
  }
  return pause;
}

}  // namespace

http::upstream_request gateway::request_for(const model_call& c, const provider& p) const {
  const auto& head = c.exchange->head();
  http::upstream_request r;
  r.method = head.method;
  r.target = c.path + query_without_key(head);
  if (!p.strip.empty() && r.target.starts_with(p.strip + "/")) r.target.erase(0, p.strip.size());
  for (const auto& [name, value] : head.fields)
    if (!stays_here(name)) r.fields.emplace_back(name, value);
  // Compressed tokens cannot be counted.
  r.fields.emplace_back("accept-encoding", "identity");
  if (!p.key.empty()) {
    if (p.kind == "anthropic") r.fields.emplace_back("x-api-key", p.key);
    if (p.kind == "openai") r.fields.emplace_back("authorization", "Bearer " + p.key);
    if (p.kind == "gemini") r.fields.emplace_back("x-goog-api-key", p.key);
  }
  for (const auto& field : p.extra) r.fields.push_back(field);
  r.body = c.body;
  r.first_byte = options_.first_byte;
  r.silence = options_.silence;
  return r;
}

task<void> gateway::relay(call_ptr c) {
  // A client that leaves ends the call, also while the provider is thinking.
  auto asking = ask(c);
  auto leaving = c->exchange->wait_closed();
  auto first = co_await (std::move(asking) || std::move(leaving));
  if (first.index() == 1) {
    c->cut = "client";
    if (c->answer) c->answer.reset();
    c->settle();
    co_return fail(errc::cancelled, "client_gone", "the client is gone");
  }
  auto done = std::get<0>(std::move(first));
  c->settle();
  co_return done;
}

task<void> gateway::ask(call_ptr c) {
  std::vector<std::shared_ptr<provider>> order{c->chosen};
  for (const auto& name : c->chosen->failover) order.push_back(options_.providers.at(name));
  result<void> tried;
  for (std::size_t i = 0; i < order.size(); ++i) {
    tried = co_await attempt(c, order[i], i + 1 == order.size());
    if (tried && c->answer) break;
  }
  if (!c->answer) {
    c->problem = tried.error().message;
    co_return tried.error();
  }
  co_return co_await pass_on(c);
}

// Asks one provider, several times where that may help. The answer stays in the call when it is good, or the last there
// is: then the client gets what the provider said.
task<void> gateway::attempt(call_ptr c, std::shared_ptr<provider> p, bool last) {
  for (int i = 0;; ++i) {
    ++c->attempts;
    c->chosen = p;
    auto request = request_for(*c, *p);
    auto answer = co_await p->origin->send(std::move(request));
    const bool final_try = i >= options_.retries;
    const http::client_head* said = nullptr;
    if (answer) {
      said = &(*answer)->head();
      const bool poor = worth_another_try(said->status);
      const bool keep = !poor || (last && (final_try || !pause_before(said, i)));
      if (keep) {
        c->answer = std::move(*answer);
        co_return result<void>{};
      }
    }
    const auto pause = pause_before(said, i);
    if (final_try || !pause) {
      if (answer)
        co_return fail(errc::unavailable, "provider_failed",
                       "provider " + p->name + " answered " + std::to_string(said->status), "Try again later.");
      error e = answer.error();
      e.message = "provider " + p->name + ": " + e.message;
      co_return e;
    }
    log_(log_level::debug, "provider " + p->name + " is asked again");
    asio::steady_timer timer(co_await asio::this_coro::executor, *pause);
    const auto [ec] = co_await timer.async_wait(use_tuple);
    if (ec) co_return fail(errc::cancelled, "cancelled", "the call was cancelled");
  }
}

task<void> gateway::pass_on(call_ptr c) {
  if (c->held) {
    // Stored while the provider was thinking.
    auto stored = co_await money_.durable(*c->held);
    if (!stored) co_return stored.error();
  }
  const auto& head = c->answer->head();
  c->status = head.status;
  const bool events = head.field("content-type").starts_with("text/event-stream");
  const bool drop = c->where.what == api::chat && c->facts.stream && !c->facts.asks_usage && c->chosen->stream_usage;
  c->counter.emplace(c->where.what, events ? answer_counter::form::events : answer_counter::form::document,
                     events && drop ? answer_counter::usage_chunk::drop : answer_counter::usage_chunk::keep);
  http::headers fields;
  for (const auto& field : head.fields)
    if (goes_back(field.first)) fields.push_back(field);
  const auto length = head.field("content-length");
  if (!length.empty() && !events) fields.emplace_back("Content-Length", length);
  c->answering = true;
  if (auto sent = co_await c->exchange->start(head.status, std::move(fields)); !sent) {
    c->cut = "client";
    co_return sent.error();
  }
  while (true) {
    auto piece = co_await c->answer->read();
    if (!piece) {
      c->cut = "upstream";
      c->problem = piece.error().message;
      // Ending without the last chunk tells the client that the answer is not whole.
      co_return piece.error();
    }
    if (!piece->empty() && !c->first_byte) c->first_byte = steady::now();
    if (options_.record_bodies && c->kept_answer.size() < kept_answer_bytes)
      c->kept_answer += piece->substr(0, kept_answer_bytes - c->kept_answer.size());
    const bool ended = piece->empty();
    std::string out;
    if (ended)
      out = c->counter->finish();
    else
      out = c->counter->pass(std::move(*piece));
    // Whoever has seen the end of an answer also sees what it cost.
    if (ended || c->answer->done() || (events && c->counter->exact())) c->settle();
    if (!out.empty()) {
      if (auto sent = co_await c->exchange->write(std::move(out)); !sent) {
        c->cut = "client";
        co_return sent.error();
      }
    }
    if (ended) break;
  }
  co_return co_await c->exchange->finish();
}

}  // namespace caged::transport_llm
