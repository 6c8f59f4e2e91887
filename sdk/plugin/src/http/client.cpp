#include <caged/http_client.hpp>

#include <algorithm>

#include "client_answer.hpp"
#include "client_parts.hpp"

namespace caged::http {

struct client::state {
  client_options options;
  client_target target;
  std::unique_ptr<client_link> kept;

  result<std::unique_ptr<client_link>> connect() const {
    auto wire = channel::connect(target, options);
    if (wire.has_error()) return wire.error();
    auto link = std::make_unique<client_link>();
    link->wire = std::move(*wire);
    return link;
  }

  std::string head_text(const client_request& r, std::string_view connection) const;
  result<void> send(client_link& link, client_request& r, std::string_view connection) const;
};

namespace {

// A value with a line break would add headers of its own.
bool fits_a_line(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

result<void> check(const client_request& r, const client_options& options) {
  bool fine = r.target.starts_with('/') && r.target.find(' ') == std::string::npos && fits_a_line(r.target) &&
              fits_a_line(r.method) && fits_a_line(options.api_key) && fits_a_line(options.user_agent);
  for (const auto& [name, value] : r.fields) fine = fine && fits_a_line(name) && fits_a_line(value);
  if (fine) return {};
  return fail(errc::invalid_argument, "bad_request",
              "the request " + r.method + " " + r.target + " cannot be sent as it is",
              "Percent-encode the path and leave line breaks out of headers.");
}

bool repeatable(const client_request& r) { return (r.method == "GET" || r.method == "HEAD") && !r.body_source; }

}  // namespace

std::string client::state::head_text(const client_request& r, std::string_view connection) const {
  std::string text = r.method + " " + target.prefix + r.target + " HTTP/1.1\r\nHost: " + target.authority + "\r\n";
  text += "User-Agent: " + options.user_agent + "\r\n";
  if (!options.api_key.empty()) text += "Authorization: Bearer " + options.api_key + "\r\n";
  for (const auto& [name, value] : r.fields) text += name + ": " + value + "\r\n";
  if (r.body_source && !r.body_size)
    text += "Transfer-Encoding: chunked\r\n";
  else if (r.body_source)
    text += "Content-Length: " + std::to_string(*r.body_size) + "\r\n";
  else if (!r.body.empty() || r.method == "POST" || r.method == "PUT" || r.method == "PATCH")
    text += "Content-Length: " + std::to_string(r.body.size()) + "\r\n";
  if (!connection.empty()) text += "Connection: " + std::string(connection) + "\r\n";
  return text + "\r\n";
}

result<void> client::state::send(client_link& link, client_request& r, std::string_view connection) const {
  const std::string head = head_text(r, connection);
  if (!r.body_source) return link.wire->write(head + r.body, r.silence);
  if (auto sent = link.wire->write(head, r.silence); sent.has_error()) return sent;
  std::uint64_t total = 0;
  while (true) {
    auto piece = r.body_source();
    if (piece.has_error()) return piece.error();
    total += piece->size();
    const bool end = piece->empty();
    if (r.body_size && (total > *r.body_size || (end && total < *r.body_size)))
      return fail(errc::invalid_argument, "body_size", "the body has another length than announced",
                  "Say the right length.");
    if (end && r.body_size) return {};
    std::string framed = std::move(*piece);
    if (!r.body_size) framed = end ? "0\r\n\r\n" : to_hex(framed.size()) + "\r\n" + framed + "\r\n";
    if (auto sent = link.wire->write(framed, r.silence); sent.has_error()) return sent;
    if (end) return {};
    // The server may refuse in the middle of an upload; its answer says more than a broken connection would.
    if (link.wire->readable())
      return fail(errc::unavailable, "answered_early", "the server answered before the whole request was sent", "");
  }
}

client::client(std::unique_ptr<state> s) : state_(std::move(s)) {}
client::client(client&&) noexcept = default;
client& client::operator=(client&&) noexcept = default;
client::~client() = default;
const std::string& client::base_url() const noexcept { return state_->options.base_url; }

result<client> client::make(client_options options) {
  auto target = parse_base_url(options.base_url);
  if (target.has_error()) return target.error();
  auto s = std::make_unique<state>();
  s->options = std::move(options);
  s->target = std::move(*target);
  return client(std::move(s));
}

result<client_stream> client::open(client_request r) {
  if (auto ok = check(r, state_->options); ok.has_error()) return ok.error();
  auto link = state_->connect();
  if (link.has_error()) return link.error();
  auto s = std::make_unique<client_stream::state>();
  s->link = std::move(*link);
  s->silence = r.silence;
  const auto sent = state_->send(*s->link, r, "close");
  if (sent.has_error() && sent.error().reason != "answered_early" && sent.error().reason != "connection_lost")
    return sent.error();
  const auto head = s->answer.read_head(*s->link, r.method, r.silence);
  if (head.has_error()) return sent.has_error() ? sent.error() : head.error();
  return client_stream(std::move(s));
}

result<client_response> client::request(client_request r) {
  if (auto ok = check(r, state_->options); ok.has_error()) return ok.error();
  for (int attempt = 1;; ++attempt) {
    auto link = std::move(state_->kept);
    // Readable without a request means that the server closed it, or speaks out of turn.
    if (link && link->wire->readable()) link.reset();
    if (!link) {
      auto fresh = state_->connect();
      if (fresh.has_error()) return fresh.error();
      link = std::move(*fresh);
    }
    const bool reused = link->used;
    client_answer answer;
    const auto sent = state_->send(*link, r, {});
    const bool early =
        sent.has_error() && (sent.error().reason == "answered_early" || sent.error().reason == "connection_lost");
    if (sent.has_error() && !early) return sent.error();
    const auto head = answer.read_head(*link, r.method, r.silence);
    if (head.has_error()) {
      if (reused && attempt == 1 && repeatable(r) && head.error().code == errc::unavailable) continue;
      return sent.has_error() ? sent.error() : head.error();
    }
    client_response response;
    while (true) {
      auto piece = answer.read_piece(*link, r.silence);
      if (piece.has_error()) return piece.error();
      if (piece->empty()) break;
      if (response.body.size() + piece->size() > state_->options.max_body)
        return fail(errc::too_large, "answer_too_large", "the answer is larger than this client takes",
                    "Read it as a stream.");
      response.body += *piece;
    }
    static_cast<client_head&>(response) = std::move(answer.head());
    if (answer.reusable() && !sent.has_error()) state_->kept = std::move(link);
    return response;
  }
}

result<json> client::call(std::string method, std::string target, json body, std::chrono::milliseconds silence) {
  client_request r;
  r.method = std::move(method);
  r.target = std::move(target);
  r.silence = silence;
  r.fields.emplace_back("Accept", "application/json");
  if (!body.is_null()) {
    r.body = to_text(body);
    r.fields.emplace_back("Content-Type", "application/json");
  }
  auto answer = request(std::move(r));
  if (answer.has_error()) return answer.error();
  return answer->document();
}

result<event_stream> client::events(client_request r) {
  r.fields.emplace_back("Accept", "text/event-stream");
  auto stream = open(std::move(r));
  if (stream.has_error()) return stream.error();
  const bool right_type = stream->head().field("content-type").starts_with("text/event-stream");
  if (!stream->head().ok() || !right_type) {
    client_response answer;
    static_cast<client_head&>(answer) = stream->head();
    if (auto body = stream->read_all(1u << 20); body.has_value()) answer.body = std::move(*body);
    if (!answer.ok()) return answer.failure();
    return fail(errc::unavailable, "no_event_stream", "the server answered with something else than an event stream",
                "Check the address; a proxy may stand between.");
  }
  return event_stream(std::move(*stream));
}

result<client_websocket> client::websocket(std::string target, std::string subprotocol, headers fields,
                                           std::size_t max_message) {
  const std::string key = websocket_key();
  client_request r;
  r.target = std::move(target);
  r.fields = std::move(fields);
  r.fields.emplace_back("Upgrade", "websocket");
  r.fields.emplace_back("Sec-WebSocket-Version", "13");
  r.fields.emplace_back("Sec-WebSocket-Key", key);
  if (!subprotocol.empty()) r.fields.emplace_back("Sec-WebSocket-Protocol", subprotocol);
  if (auto ok = check(r, state_->options); ok.has_error()) return ok.error();
  auto link = state_->connect();
  if (link.has_error()) return link.error();
  if (auto sent = state_->send(**link, r, "Upgrade"); sent.has_error()) return sent.error();
  client_answer answer;
  if (auto head = answer.read_head(**link, "GET", r.silence); head.has_error()) return head.error();
  if (answer.head().status != 101) {
    client_response refusal;
    while (refusal.body.size() < (1u << 20)) {
      auto piece = answer.read_piece(**link, r.silence);
      if (piece.has_error() || piece->empty()) break;
      refusal.body += *piece;
    }
    static_cast<client_head&>(refusal) = std::move(answer.head());
    return refusal.failure();
  }
  if (answer.head().field("sec-websocket-accept") != websocket_accept(key))
    return fail(errc::unavailable, "websocket_handshake", "the server did not complete the WebSocket handshake",
                "Check the address; a proxy may stand between.");
  auto s = std::make_unique<client_websocket::state>();
  s->link = std::move(*link);
  s->subprotocol = answer.head().field("sec-websocket-protocol");
  s->max_message = max_message;
  return client_websocket(std::move(s));
}

}  // namespace caged::http
