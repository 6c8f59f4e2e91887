#include <caged/mcp/dialog.hpp>

#include <utility>

#include <caged/mcp/envelope.hpp>

#include "request.hpp"

namespace caged::mcp {
namespace {

// Collects the answers to a batch and sends them as one array when the last request has let go of it.
class batch_outlet : public outlet {
 public:
  explicit batch_outlet(std::shared_ptr<outlet> to) : to_(std::move(to)) {}
  ~batch_outlet() override {
    if (!answers_.empty()) to_->send("[" + answers_ + "]", kind::answer, 200);
  }
  void send(std::string text, kind what, int http_status) override {
    if (what == kind::notification) return to_->send(std::move(text), what, http_status);
    if (!answers_.empty()) answers_ += ',';
    answers_ += text;
  }

 private:
  std::shared_ptr<outlet> to_;
  std::string answers_;
};

}  // namespace

dialog::dialog(surroundings in) : in_(std::move(in)) {}

std::shared_ptr<dialog> dialog::make(surroundings in) {
  std::shared_ptr<dialog> made(new dialog(std::move(in)));
  if (made->in_.hearers) made->in_.hearers->add(made);
  return made;
}

std::shared_ptr<dialog> dialog::make(toolbox& tools, identity who) {
  surroundings in;
  in.content = std::shared_ptr<toolbox>(std::shared_ptr<void>(), &tools);
  in.who = std::move(who);
  return make(std::move(in));
}

std::size_t dialog::working() const noexcept { return calls_.size(); }

void dialog::refuse(std::string_view why, const std::shared_ptr<outlet>& to) {
  // The id cannot be known: null where the first era rules, nothing where the second does.
  std::string text = "{\"jsonrpc\":\"2.0\",";
  if (!stateless_seen_) text += "\"id\":null,";
  text += "\"error\":{\"code\":-32700,\"message\":";
  append_quoted(text, "Parse error: " + std::string(why));
  to->send(text + "}}", outlet::kind::answer, 400);
}

void dialog::receive(std::string_view text, const std::shared_ptr<outlet>& to) {
  parsed_json parsed = parse_strict(text);
  if (!parsed.fault.empty()) return refuse(parsed.fault, to);
  receive_parsed(std::move(parsed.value), to);
}

void dialog::receive_parsed(json message, const std::shared_ptr<outlet>& to, const http_fields* fields) {
  const auto keep = shared_from_this();
  if (message.is_array()) return batch(std::move(message), to);
  one(std::move(message), to, fields);
}

void dialog::batch(json messages, const std::shared_ptr<outlet>& to) {
  request nobody;
  nobody.to = to;
  const auto refused = [&](std::string why) {
    error(nobody, error_code::invalid_request, std::move(why), nullptr, 400);
  };
  if (messages.empty()) return refused("Invalid Request: an empty batch");
  if (!has_batches(agreed_))
    return refused("Invalid Request: batches exist in revision 2025-03-26 only. Send one message at a time");
  if (messages.size() > max_batch) return refused("Invalid Request: a batch of more than 100 messages");
  for (const json& message : messages) {
    if (const json* params = member(message, "params");
        !message.is_object() || (params != nullptr && claims_envelope(*params)))
      return refused("Invalid Request: a batch with something that may not be in one");
    if (text_member(message, "method") == "initialize")
      return refused("Invalid Request: initialize may not be in a batch");
  }
  const auto collected = std::make_shared<batch_outlet>(to);
  for (json& message : messages) one(std::move(message), collected, nullptr);
}

void dialog::one(json message, const std::shared_ptr<outlet>& to, const http_fields* fields) {
  request r;
  r.to = to;
  if (!message.is_object())
    return error(r, error_code::invalid_request, "Invalid Request: not an object", nullptr, 400);
  const json* id = member(message, "id");
  const json* method = member(message, "method");
  if (id != nullptr && valid_id(*id)) r.id = dump(*id);
  if (text_member(message, "jsonrpc") != "2.0")
    return error(r, error_code::invalid_request, "Invalid Request: \"jsonrpc\" must be \"2.0\"", nullptr, 400);
  if (method == nullptr && (message.contains("result") || message.contains("error"))) return response(message);
  if (method == nullptr || !method->is_string())
    return error(r, error_code::invalid_request, "Invalid Request: \"method\" must be a string", nullptr, 400);
  if (id == nullptr) return notification(message);
  if (r.id.empty())
    return error(r, error_code::invalid_request, "Invalid Request: \"id\" must be a string or an integer", nullptr,
                 400);
  r.method = method->get<std::string>();
  if (const auto params = message.find("params"); params != message.end()) {
    if (!params->is_object())
      return error(r, error_code::invalid_request, "Invalid Request: \"params\" must be an object", nullptr, 400);
    r.params = std::move(*params);
  } else {
    r.params = json::object();
  }
  if (calls_.count(r.id) != 0 || listeners_.count(r.id) != 0)
    return error(r, error_code::invalid_request, "Invalid Request: the id is that of a request under way", nullptr,
                 400);
  if (claims_envelope(r.params)) {
    if (open_envelope(r, fields)) stateless(r, fields);
    return;
  }
  r.spoken = agreed_ == revision::unset ? newest_legacy : agreed_;
  legacy(r);
}

void dialog::notification(const json& message) {
  // Everything but a cancel concerns a state that this server does not keep. Notifications are never answered.
  if (message.at("method") != "notifications/cancelled") return;
  const json* params = member(message, "params");
  const json* id = params == nullptr ? nullptr : member(*params, "requestId");
  if (id != nullptr && valid_id(*id)) cancel(dump(*id));
}

void dialog::response(const json& message) {
  // What answers nothing that was asked is nobody's.
  const auto it = asked_.find(text_member(message, "id"));
  if (it == asked_.end()) return;
  const auto call = it->second.first.lock();
  const std::string key = it->second.second;
  asked_.erase(it);
  if (!call || call->answered_ || !call->then_) return;
  if (const json* result = member(message, "result")) {
    call->collected_[key] = *result;
  } else {
    const json* problem = member(message, "error");
    call->give_up_questions();
    return call->fail("the client refused to answer: " +
                      (problem == nullptr ? std::string() : text_member(*problem, "message").substr(0, 300)));
  }
  for (const auto& [asked, about] : call->open_questions_.items())
    if (!call->collected_.contains(asked)) return;
  const auto then = std::exchange(call->then_, nullptr);
  call->open_questions_ = nullptr;
  then(call->collected_);
}

bool dialog::open_envelope(request& r, const http_fields* fields) {
  stateless_seen_ = true;
  const envelope e = read_envelope(r.params);
  r.spoken = newest;
  if (!e.fault.empty()) {
    error(r, error_code::invalid_params, "Invalid params: " + e.fault, nullptr, 400);
    return false;
  }
  const auto said = fields == nullptr ? std::nullopt : fields->get("mcp-protocol-version");
  if (said && *said != e.version) {
    error(r, error_code::header_mismatch,
          "Header mismatch: the header MCP-Protocol-Version is not the version in _meta", nullptr, 400);
    return false;
  }
  if (!modern(revision_of(e.version))) {
    json data{{"supported", json::array({name_of(newest)})}, {"requested", e.version}};
    error(r, error_code::unsupported_version, "Unsupported protocol version", std::move(data), 400);
    return false;
  }
  r.spoken = revision_of(e.version);
  if (const std::string level = text_member(r.params.at("_meta"), log_level_key);
      r.params.at("_meta").contains(log_level_key) && severity_of(level) == log_severity::unset) {
    error(r, error_code::invalid_params,
          std::string("Invalid params: _meta[\"") + log_level_key + "\"] is no log level", nullptr, 400);
    return false;
  }
  return true;
}

void dialog::cancel(const std::string& id) {
  if (const auto l = listeners_.find(id); l != listeners_.end()) {
    stop_listening(*l->second);
    listeners_.erase(l);
    return;
  }
  const auto it = calls_.find(id);
  if (it == calls_.end()) return;
  const auto call = it->second;
  calls_.erase(it);
  call->answered_ = true;
  call->outlet_.reset();
  call->cancelled_ = true;
  call->give_up_questions();
  if (const auto action = std::exchange(call->on_cancel_, nullptr)) action();
}

void dialog::close() {
  const auto keep = shared_from_this();
  while (!calls_.empty()) cancel(std::string(calls_.begin()->first));
  while (!listeners_.empty()) cancel(std::string(listeners_.begin()->first));
  for (const std::string& uri : std::exchange(subscribed_, {})) in_.content->unwatch(uri);
  asked_.clear();
}

void dialog::result(const request& r, std::string_view body) {
  std::string text = "{\"jsonrpc\":\"2.0\",\"id\":" + r.id + ",\"result\":";
  text += body;
  if (modern(r.spoken)) {
    text.pop_back();
    if (text.back() != '{') text += ',';
    text += decorations(in_.who) + "}";
  }
  text += '}';
  r.to->send(std::move(text), outlet::kind::answer, 200);
}

void dialog::error(const request& r, error_code code, std::string message, json data, int http_status) {
  std::string text = "{\"jsonrpc\":\"2.0\",";
  if (!r.id.empty())
    text += "\"id\":" + r.id + ",";
  else if (!stateless_seen_)
    text += "\"id\":null,";
  text += "\"error\":{\"code\":" + std::to_string(static_cast<int>(code)) + ",\"message\":";
  append_quoted(text, message);
  if (!data.is_null()) text += ",\"data\":" + dump(data);
  r.to->send(text + "}}", outlet::kind::answer, http_status);
}

}  // namespace caged::mcp
