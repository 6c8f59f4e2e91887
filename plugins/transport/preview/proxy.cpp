#include "proxy.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <caged/random.hpp>
#include <charconv>

#include "page.hpp"

namespace caged::transport_preview {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::string_view cookie_name = "caged_preview";
constexpr std::string_view password_path = "/__caged/password";
constexpr auto quiet_time = std::chrono::hours(1);  // streams may be silent for long

bool one_of(std::string_view name, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool of_the_connection(std::string_view name) {
  return one_of(name, {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
                       "proxy-authorization"});
}

// The cookies but ours; "" when none is left.
std::string other_cookies(std::string_view field) {
  std::string out;
  while (!field.empty()) {
    const auto end = std::min(field.find(';'), field.size());
    auto one = field.substr(0, end);
    field.remove_prefix(std::min(end + 1, field.size()));
    while (one.starts_with(' ')) one.remove_prefix(1);
    const auto name = one.substr(0, one.find('='));
    if (one.empty() || name == cookie_name) continue;
    out.append(out.empty() ? "" : "; ").append(one);
  }
  return out;
}

std::string cookie_of(const http::request& head) {
  for (const auto& [name, value] : head.fields) {
    if (name != "cookie") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const auto end = std::min(rest.find(';'), rest.size());
      auto one = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      while (one.starts_with(' ')) one.remove_prefix(1);
      if (one.size() > cookie_name.size() && one.starts_with(cookie_name) && one[cookie_name.size()] == '=')
        return std::string(one.substr(cookie_name.size() + 1));
    }
  }
  return {};
}

// "password=…" of a form.
std::string form_value(std::string_view body, std::string_view name) {
  while (!body.empty()) {
    const auto end = std::min(body.find('&'), body.size());
    const auto pair = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    const auto equal = pair.find('=');
    if (equal == std::string_view::npos || pair.substr(0, equal) != name) continue;
    std::string value;
    const auto raw = pair.substr(equal + 1);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      unsigned byte = 0;
      if (raw[i] == '%' && i + 2 < raw.size() &&
          std::from_chars(raw.data() + i + 1, raw.data() + i + 3, byte, 16).ptr == raw.data() + i + 3) {
        value += static_cast<char>(byte);
        i += 2;
      } else {
        value += raw[i] == '+' ? ' ' : raw[i];
      }
    }
    return value;
  }
  return {};
}

asio::awaitable<void> pump(std::shared_ptr<byte_stream> from, std::shared_ptr<byte_stream> to) {
  while (true) {
    auto piece = co_await from->read(quiet_time);
    if (!piece || piece->empty()) co_return;
    auto sent = co_await to->write(std::move(*piece), quiet_time);
    if (!sent) co_return;
  }
}

}  // namespace

proxy::proxy(proxy_options options, preview_access& access, http::front& front)
    : options_(std::move(options)), access_(access), front_(front), cookie_key_(random_hex("", 32)) {}

std::optional<std::pair<std::string, int>> proxy::target_of(std::string_view host, std::string_view domain) {
  if (host.size() <= domain.size() + 1 || !host.ends_with(domain) || host[host.size() - domain.size() - 1] != '.')
    return std::nullopt;
  const auto label = host.substr(0, host.size() - domain.size() - 1);
  const auto dash = label.rfind('-');
  if (dash == std::string_view::npos || dash == 0 || label.find('.') != std::string_view::npos) return std::nullopt;
  int port = 0;
  const auto digits = label.substr(dash + 1);
  const auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (bad != std::errc{} || end != digits.data() + digits.size() || port < 1 || port > 65535) return std::nullopt;
  return std::pair(std::string(label.substr(0, dash)), port);
}

std::string proxy::url(std::string_view id, int port) const {
  if (!options_.url.empty()) {
    std::string text = options_.url;
    for (const auto& [mark, value] :
         {std::pair<std::string_view, std::string>{"{id}", id}, {"{port}", std::to_string(port)}})
      if (const auto at = text.find(mark); at != std::string::npos) text.replace(at, mark.size(), value);
    return text;
  }
  const auto addresses = front_.addresses();
  if (addresses.empty()) return {};
  const auto& first = addresses.front();
  const auto scheme = first.substr(0, first.find("://"));
  return scheme + "://" + std::string(id) + "-" + std::to_string(port) + "." + options_.domain +
         first.substr(first.rfind(':'));
}

asio::awaitable<void> proxy::handle(std::shared_ptr<proxy> self, std::shared_ptr<http::exchange> exchange) {
  auto v = std::make_shared<visit>();
  v->exchange = std::move(exchange);
  auto done = co_await self->answer(v);
  if (done || done.error().code == errc::cancelled) co_return;
  const error e = done.error();
  int status = 502;
  if (e.reason == "rate_limited") status = 429;
  auto r = failure_answer(v->exchange->head(), e, status);
  if (status == 429) r.fields.emplace_back("Retry-After", std::to_string(60 - std::time(nullptr) % 60));
  (void)co_await v->exchange->respond(std::move(r));
}

task<void> proxy::answer(visit_ptr v) {
  const auto& head = v->exchange->head();
  const auto target = target_of(head.host, options_.domain);
  if (!target)
    co_return fail(errc::not_found, "no_preview", "\"" + head.host + "\" names no port of a sandbox",
                   "Addresses of previews are <sandbox>-<port>." + options_.domain + "; `caged ports` shows them.");
  v->id = target->first;
  v->port = target->second;
  auto door = access_.look(v->id, v->port);
  if (!door) co_return door.error();
  if (!within_rate(*v))
    co_return fail(errc::limit_exceeded, "rate_limited",
                   "this preview takes " + std::to_string(options_.requests_per_minute) + " requests a minute",
                   "Wait a minute, or raise plugins.transport.preview.requests_per_minute.");
  if (door->guarded) {
    auto passed = co_await pass_guard(v, *door);
    if (!passed) co_return passed.error();
    if (!*passed) co_return result<void>{};
  }
  co_return co_await forward(v);
}

bool proxy::within_rate(const visit& v) {
  if (options_.requests_per_minute == 0) return true;
  const auto now = std::time(nullptr) / 60;
  if (now != window_) {
    used_.clear();
    window_ = now;
  }
  return ++used_[{v.id, v.port}] <= options_.requests_per_minute;
}

// Worth something only for this port, with this password, while this server runs.
std::string proxy::pass_for(const visit& v, const preview_door& door) const {
  return sha256_hex(cookie_key_ + "|" + v.id + "|" + std::to_string(v.port) + "|" + door.guard + "|" + cookie_key_);
}

task<bool> proxy::pass_guard(visit_ptr v, preview_door door) {
  const auto& head = v->exchange->head();
  const std::string pass = pass_for(*v, door);
  if (head.path != password_path && equal_constant_time(cookie_of(head), pass)) co_return true;
  const bool form = head.method == "POST" && head.path == password_path;
  std::string given(head.field("x-preview-password"));
  if (form) {
    auto body = co_await v->exchange->read_body(4096);
    if (!body) co_return body.error();
    given = form_value(*body, "password");
  }
  bool right = false;
  if (!given.empty()) {
    auto opened = co_await access_.opens(v->id, v->port, given);
    if (!opened) co_return opened.error();
    right = *opened;
  }
  if (right && !form) co_return true;
  http::response r = password_question(head, given.empty() ? attempt::none : attempt::wrong);
  if (right) {
    r = {};
    r.status = 303;
    r.fields = {{"Location", "/"},
                {"Set-Cookie", std::string(cookie_name) + "=" + pass + "; Path=/; HttpOnly; SameSite=Lax" +
                                   (head.secure ? "; Secure" : "")}};
  }
  auto sent = co_await v->exchange->respond(std::move(r));
  if (!sent) co_return sent.error();
  co_return false;
}

http::upstream_request proxy::request_of(const visit& v) const {
  const auto& head = v.exchange->head();
  http::upstream_request r;
  r.method = head.method;
  r.target = head.target;
  r.host = head.field("host");
  r.upgrade = v.exchange->wants_websocket();
  for (const auto& [name, value] : head.fields) {
    if (of_the_connection(name) || one_of(name, {"host", "content-length", "expect", "x-preview-password"})) continue;
    if (name == "upgrade" && !r.upgrade) continue;
    if (name == "cookie") {
      if (auto rest = other_cookies(value); !rest.empty()) r.fields.emplace_back(name, std::move(rest));
      continue;
    }
    r.fields.emplace_back(name, value);
  }
  r.fields.emplace_back("x-forwarded-host", r.host);
  r.fields.emplace_back("x-forwarded-proto", head.secure ? "https" : "http");
  r.fields.emplace_back("x-forwarded-for", head.remote);
  const auto length = head.field("content-length");
  if (!length.empty() || !head.field("transfer-encoding").empty()) r.body_source = v.exchange->body();
  if (!length.empty()) r.body_size = std::stoull(std::string(length));
  r.first_byte = std::chrono::minutes(10);
  r.silence = quiet_time;
  return r;
}

task<void> proxy::forward(visit_ptr v) {
  auto reached = co_await access_.dial(v->id, v->port, options_.wake);
  if (!reached) co_return reached.error();
  const auto busy = reached->busy;
  auto request = request_of(*v);
  auto asking = http::send_over(reached->stream, std::move(request));
  auto leaving = v->exchange->wait_closed();
  auto first = co_await (std::move(asking) || std::move(leaving));
  if (first.index() == 1) co_return fail(errc::cancelled, "client_gone", "the client is gone");
  auto answer = std::get<0>(std::move(first));
  if (!answer) {
    error e = answer.error();
    if (e.code != errc::cancelled)
      e = fail(errc::unavailable, "port_no_http",
               "port " + std::to_string(v->port) + " of sandbox " + v->id + " gave no answer: " + e.message,
               "Look whether it speaks HTTP.");
    co_return e;
  }
  if ((*answer)->head().status == 101) co_return co_await pass_socket(v, *answer);
  auto passing = pass_answer(v, *answer);
  auto gone = v->exchange->wait_closed();
  auto second = co_await (std::move(passing) || std::move(gone));
  if (second.index() == 1) co_return fail(errc::cancelled, "client_gone", "the client is gone");
  // The head is out: what broke is told by an answer that does not end.
  co_return result<void>{};
}

task<void> proxy::pass_answer(visit_ptr v, std::shared_ptr<http::upstream_answer> answer) {
  const auto& head = answer->head();
  http::headers fields;
  for (const auto& field : head.fields)
    if (!of_the_connection(field.first) && field.first != "upgrade" && field.first != "content-length")
      fields.push_back(field);
  const auto length = head.field("content-length");
  const bool empty = v->exchange->head().method == "HEAD" || head.status == 204 || head.status == 304;
  if (empty) {
    http::response r;
    r.status = head.status;
    r.fields = std::move(fields);
    co_return co_await v->exchange->respond(std::move(r));
  }
  if (!length.empty() && head.field("transfer-encoding").empty()) fields.emplace_back("Content-Length", length);
  if (auto sent = co_await v->exchange->start(head.status, std::move(fields)); !sent) co_return sent.error();
  while (true) {
    auto piece = co_await answer->read();
    if (!piece) co_return piece.error();
    if (piece->empty()) co_return co_await v->exchange->finish();
    if (auto sent = co_await v->exchange->write(std::move(*piece)); !sent) co_return sent.error();
  }
}

task<void> proxy::pass_socket(visit_ptr v, std::shared_ptr<http::upstream_answer> answer) {
  http::headers fields;
  for (const auto& field : answer->head().fields)
    if (!one_of(field.first, {"keep-alive", "transfer-encoding", "content-length"})) fields.push_back(field);
  std::string ahead;
  auto inside = answer->take_stream(ahead);
  auto outside = co_await v->exchange->upgrade(std::move(fields));
  if (!outside) co_return outside.error();
  if (!ahead.empty())
    if (auto sent = co_await (*outside)->write(std::move(ahead), quiet_time); !sent) co_return sent.error();
  auto in = pump(*outside, inside);
  auto out = pump(inside, *outside);
  co_await (std::move(in) || std::move(out));
  inside->close();
  (*outside)->close();
  co_return result<void>{};
}

}  // namespace caged::transport_preview
