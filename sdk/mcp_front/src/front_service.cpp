#include <caged/mcp_front/front_service.hpp>

#include <algorithm>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <caged/http_front.hpp>
#include <caged/random.hpp>

#include "era.hpp"
#include "lane.hpp"

namespace caged::mcp {
namespace {

using namespace asio::experimental::awaitable_operators;

// The bearer token or API key, "" when there is none.
std::string credential_of(const http::request& head) {
  const std::string_view field = head.field("authorization");
  if (field.empty()) return header_of(head, "x-api-key");
  constexpr std::string_view scheme = "bearer ";
  const bool bearer = field.size() > scheme.size() && std::equal(scheme.begin(), scheme.end(), field.begin(),
                                                                 [](char a, char b) { return a == (b | 32); });
  if (!bearer) return " ";  // a credential, and a wrong one
  std::string_view token = field.substr(scheme.size());
  while (token.starts_with(' ')) token.remove_prefix(1);
  return token.empty() ? " " : std::string(token);
}

http::response admission_refusal(const error& e) {
  http::response r = refusal(http_status(e.code), -32000, e.action.empty() ? e.message : e.message + ". " + e.action);
  if (e.code == errc::unauthenticated)
    r.fields.emplace_back("WWW-Authenticate", e.reason == "no_credential"
                                                  ? "Bearer realm=\"caged\""
                                                  : "Bearer realm=\"caged\", error=\"invalid_token\"");
  if (e.code == errc::permission_denied)
    r.fields.emplace_back("WWW-Authenticate", "Bearer error=\"insufficient_scope\"");
  return r;
}

http::response plain(int status) {
  http::response r;
  r.status = status;
  r.fields = {{"Cache-Control", "no-store"}};
  return r;
}

}  // namespace

front_service::front_service(asio::any_io_executor executor, http::front& front, front_options options, admission admit)
    : executor_(std::move(executor)), front_(front), options_(options), admit_(std::move(admit)) {}

asio::awaitable<void> front_service::handle(std::shared_ptr<front_service> self,
                                            std::shared_ptr<http::exchange> exchange) {
  co_await self->answer(std::move(exchange));
}

asio::awaitable<void> front_service::answer(exchange_ptr exchange) {
  const http::request& head = exchange->head();
  http::response refused;
  if (closed_) {
    refused = refusal(503, -32000, "the server is going away");
  } else if (!front_.origin_allowed(head.field("origin"), head.field("host"))) {
    refused = refusal(403, -32000, "pages of this origin may not talk to this server");
  } else if (!head.query.empty() && std::any_of(head.query.begin(), head.query.end(), [](const auto& q) {
               return q.first == "token" || q.first == "access_token" || q.first == "api_key";
             })) {
    refused = refusal(400, -32000, "a key in the address is a published key. Send it as \"Authorization: Bearer …\"");
  } else {
    std::string credential = credential_of(head);
    http::request copy = head;
    auto in = co_await admit_(std::move(credential), std::move(copy));
    if (in.has_value()) {
      surroundings given = std::move(*in);
      if (exchange->wants_websocket()) {
        co_await socket(exchange, std::move(given));
        co_return;
      }
      if (head.method == "POST") {
        co_await post(exchange, std::move(given));
        co_return;
      }
      if (head.method == "GET") {
        co_await get(exchange, std::move(given));
        co_return;
      }
      if (head.method == "DELETE") {
        co_await remove(exchange, std::move(given));
        co_return;
      }
      refused = refusal(405, -32000, "the endpoint takes POST, GET and DELETE");
      refused.fields.emplace_back("Allow", "POST, GET, DELETE");
    } else {
      refused = admission_refusal(in.error());
    }
  }
  (void)co_await exchange->respond(std::move(refused));
}

asio::awaitable<void> front_service::post(exchange_ptr exchange, surroundings in) {
  const http::request& head = exchange->head();
  if (!lists_json(header_of(head, "content-type"))) {
    auto r = refusal(415, -32000, "the Content-Type must be application/json");
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  if (!accepts_both(header_of(head, "accept"))) {
    auto r = refusal(406, -32000, "Accept must list application/json and text/event-stream");
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  auto body = co_await exchange->read_body(options_.message_bytes);
  if (body.has_error()) {
    auto r = refusal(http_status(body.error().code), -32600, body.error().message);
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  parsed_json parsed = parse_strict(*body);
  if (!parsed.fault.empty()) {
    const json id = unreadable_id(revision_of(header_of(head, "mcp-protocol-version")));
    auto r = refusal(400, -32700, "Parse error: " + parsed.fault, nullptr, id);
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  json message = std::move(parsed.value);
  verdict v = classify(message, head);
  if (v.refused) {
    (void)co_await exchange->respond(std::move(v.refusal));
    co_return;
  }
  if (v.which == era::stateless) {
    auto d = dialog::make(std::move(in));
    const auto l = std::make_shared<lane>(executor_, "1");
    std::erase_if(open_, [](const auto& weak) { return weak.expired(); });
    open_.push_back(d);
    co_await run(exchange, d, l, std::move(message), "");
    // Whoever closes the connection has cancelled.
    d->close();
    co_return;
  }
  std::shared_ptr<http_session> session;
  const bool begins = message.is_object() && message.value("method", json()) == "initialize";
  if (begins) {
    session = make_session(std::move(in));
  } else {
    auto f = find_session(head, in.principal);
    if (!f.session) {
      (void)co_await exchange->respond(std::move(f.refusal));
      co_return;
    }
    session = std::move(f.session);
  }
  const auto l = session->new_lane(executor_);
  std::string fresh;  // the id, to be told
  if (begins) fresh = session->id;
  co_await run(exchange, session->talk, l, std::move(message), std::move(fresh));
}

asio::awaitable<void> front_service::run(exchange_ptr exchange, std::shared_ptr<dialog> d, std::shared_ptr<lane> l,
                                         json message, std::string session_id) {
  const http::request& head = exchange->head();
  http_fields fields;
  fields.get = [&head](std::string_view name) -> std::optional<std::string> {
    for (const auto& [key, value] : head.fields)
      if (key == name) return value;
    return std::nullopt;
  };
  const bool expects = expects_answer(message);
  d->receive_parsed(std::move(message), std::make_shared<lane_outlet>(l), &fields);
  http::headers extra;
  if (!session_id.empty() && d->agreed() != revision::unset) {
    extra.emplace_back("Mcp-Session-Id", session_id);
    l->spoken = d->agreed();
  } else if (!session_id.empty()) {
    sessions_.erase(session_id);
  }
  if (!expects && l->events.empty()) {
    l->end();
    http::response taken = plain(202);
    (void)co_await exchange->respond(std::move(taken));
    co_return;
  }
  // The answer alone travels as JSON; what has something before it, or takes long, as a stream.
  if (l->events.empty() && !l->hung_up) {
    l->signal.expires_after(options_.patience);
    auto waiting = l->signal.async_wait(use_tuple);
    auto leaving = exchange->wait_closed();
    const auto first = co_await (std::move(waiting) || std::move(leaving));
    if (first.index() == 1) co_return;
  }
  if (l->events.size() == 1 && l->events.front().what == outlet::kind::answer) {
    http::response r;
    r.status = l->events.front().status;
    r.body = std::move(l->events.front().text);
    // Without an id nobody can ask for it again.
    l->forget();
    r.fields = {
        {"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
    r.fields.insert(r.fields.end(), extra.begin(), extra.end());
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  co_await stream(exchange, l, 0, std::move(extra));
}

namespace {

std::string event_text(const lane& l, std::uint64_t number, std::string_view data) {
  std::string text;
  if (has_priming_event(l.spoken) || l.spoken >= revision::v2025_03_26)
    text = "id: " + l.name + "-" + std::to_string(number) + "\n";
  text += "data: ";
  text += data;
  return text + "\n\n";
}

// Writes what the lane has after `after`, and what comes, until it ends, another reader takes it over, or it is hung
// up.
asio::awaitable<void> pump(std::shared_ptr<http::exchange> exchange, std::shared_ptr<lane> l, std::uint64_t after,
                           std::uint64_t mine, std::chrono::milliseconds keep_alive) {
  while (l->reader == mine) {
    std::string text;
    for (const lane::event& e : l->events) {
      if (e.number <= after) continue;
      text += event_text(*l, e.number, e.text);
      after = e.number;
      if (text.size() > 256 * 1024) break;
    }
    if (text.empty() && l->hung_up && !l->ended) {
      l->hung_up = false;
      text = "retry: 200\n\n";
      (void)co_await exchange->write(std::move(text));
      co_return;
    }
    if (text.empty() && l->ended) co_return;
    if (text.empty()) {
      l->signal.expires_after(keep_alive);
      const auto [ec] = co_await l->signal.async_wait(use_tuple);
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) co_return;
      if (!ec) text = ": keep-alive\n\n";
      if (text.empty()) continue;
    }
    const auto sent = co_await exchange->write(std::move(text));
    if (sent.has_error()) co_return;
  }
}

}  // namespace

asio::awaitable<void> front_service::stream(exchange_ptr exchange, std::shared_ptr<lane> l, std::uint64_t after,
                                            http::headers extra) {
  http::headers fields{{"Content-Type", "text/event-stream"},
                       {"Cache-Control", "no-cache, no-transform"},
                       {"X-Accel-Buffering", "no"},
                       {"X-Content-Type-Options", "nosniff"}};
  fields.insert(fields.end(), extra.begin(), extra.end());
  const std::uint64_t mine = ++l->reader;
  l->occupied = true;
  auto sent = co_await exchange->start(200, std::move(fields));
  if (sent.has_value() && after == 0 && has_priming_event(l->spoken) && !modern(l->spoken))
    sent = co_await exchange->write("id: " + l->name + "-0\ndata: \n\n");
  if (sent.has_value()) {
    auto pumping = pump(exchange, l, after, mine, options_.keep_alive);
    auto leaving = exchange->wait_closed();
    co_await (std::move(pumping) || std::move(leaving));
  }
  if (l->reader == mine) l->occupied = false;
  (void)co_await exchange->finish();
}

asio::awaitable<void> front_service::get(exchange_ptr exchange, surroundings in) {
  const http::request& head = exchange->head();
  auto f = find_session(head, in.principal);
  if (f.session && header_of(head, "accept").find("text/event-stream") == std::string::npos) {
    f.session = nullptr;
    f.refusal = refusal(406, -32000, "Accept must list text/event-stream");
  }
  if (!f.session) {
    (void)co_await exchange->respond(std::move(f.refusal));
    co_return;
  }
  const auto session = f.session;
  std::shared_ptr<lane> l = session->standing;
  std::uint64_t after = 0;
  if (const std::string id = header_of(head, "last-event-id"); !id.empty()) {
    const auto dash = id.find('-');
    const auto it = session->lanes.find(id.substr(0, dash));
    const bool digits = dash != std::string::npos && dash + 1 < id.size() && id.size() - dash < 20 &&
                        id.find_first_not_of("0123456789", dash + 1) == std::string::npos;
    if (digits && it != session->lanes.end()) {
      l = it->second;
      after = std::stoull(id.substr(dash + 1));
    } else if (!digits || id.substr(0, dash) != l->name) {
      auto r = refusal(404, -32001, "there is no such event in this session");
      (void)co_await exchange->respond(std::move(r));
      co_return;
    } else {
      after = std::stoull(id.substr(dash + 1));
    }
  } else if (l->occupied) {
    auto r = refusal(409, -32000, "this session has a stream already");
    (void)co_await exchange->respond(std::move(r));
    co_return;
  }
  l->signal.cancel();
  http::headers none;
  co_await stream(exchange, l, after, std::move(none));
}

asio::awaitable<void> front_service::remove(exchange_ptr exchange, surroundings in) {
  auto f = find_session(exchange->head(), in.principal);
  if (f.session) {
    f.session->talk->close();
    for (const auto& [name, l] : f.session->lanes) l->end();
    f.session->standing->end();
    sessions_.erase(f.session->id);
    f.refusal = plain(200);
  }
  (void)co_await exchange->respond(std::move(f.refusal));
}

front_service::found front_service::find_session(const http::request& head, const std::string& principal) {
  found f;
  const std::string id = header_of(head, "mcp-session-id");
  const auto it = sessions_.find(id);
  if (id.empty()) {
    f.refusal = refusal(
        400, -32000,
        "the header Mcp-Session-Id is missing. Begin with initialize, or send the metadata of a stateless request");
  } else if (it == sessions_.end() || it->second->in.principal != principal) {
    f.refusal = refusal(404, -32001, "there is no such session. Begin with initialize");
  } else {
    f.session = it->second;
    f.session->used = std::chrono::steady_clock::now();
  }
  return f;
}

std::shared_ptr<http_session> front_service::make_session(surroundings in) {
  forget_idle();
  const auto s = std::make_shared<http_session>();
  s->id = random_hex("", 32);
  s->in = in;
  s->talk = dialog::make(std::move(in));
  s->standing = std::make_shared<lane>(executor_, "0");
  s->standing->spoken = newest_legacy;
  s->unsolicited = std::make_shared<lane_outlet>(s->standing);
  s->talk->unsolicited_to(s->unsolicited);
  sessions_[s->id] = s;
  return s;
}

void front_service::forget_idle() {
  const auto now = std::chrono::steady_clock::now();
  const auto busy = [](const http_session& s) { return s.standing->occupied || s.talk->working() > 0; };
  const auto drop = [this](auto it) {
    it->second->talk->close();
    it->second->standing->end();
    return sessions_.erase(it);
  };
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    if (!busy(*it->second) && now - it->second->used > options_.session_idle)
      it = drop(it);
    else
      ++it;
  }
  if (sessions_.size() < options_.sessions) return;
  const auto oldest = std::min_element(sessions_.begin(), sessions_.end(),
                                       [](const auto& a, const auto& b) { return a.second->used < b.second->used; });
  drop(oldest);
}

void front_service::close() {
  closed_ = true;
  for (const auto& weak : std::exchange(open_, {}))
    if (const auto d = weak.lock()) d->farewell();
  for (const auto& [id, s] : std::exchange(sessions_, {})) {
    s->talk->close();
    for (const auto& [name, l] : s->lanes) l->end();
    s->standing->end();
  }
}

}  // namespace caged::mcp
