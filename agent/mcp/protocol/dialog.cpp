#include "mcp/protocol/dialog.hpp"

#include <utility>

#include "mcp/protocol/envelope.hpp"

namespace caged::mcp {

struct dialog::request {
  std::string id;  // JSON text
  std::string method;
  json params;
  std::shared_ptr<outlet> to;
  revision spoken = revision::unset;
};

namespace {

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

bool valid_id(const json& id) { return id.is_string() || id.is_number_integer(); }

std::string text_member(const json& object, const char* name) {
  const json* value = member(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

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

dialog::dialog(toolbox& tools, identity who) : tools_(tools), who_(std::move(who)) {}

std::shared_ptr<dialog> dialog::make(toolbox& tools, identity who) {
  return std::shared_ptr<dialog>(new dialog(tools, std::move(who)));
}

std::size_t dialog::working() const noexcept {
  std::size_t count = 0;
  for (const auto& [id, call] : calls_) count += call->tool_.empty() ? 0 : 1;
  return count;
}

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

void dialog::receive_parsed(json message, const std::shared_ptr<outlet>& to) {
  const auto keep = shared_from_this();
  if (message.is_array()) return batch(std::move(message), to);
  one(std::move(message), to);
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
  for (json& message : messages) one(std::move(message), collected);
}

void dialog::one(json message, const std::shared_ptr<outlet>& to) {
  request r;
  r.to = to;
  if (!message.is_object())
    return error(r, error_code::invalid_request, "Invalid Request: not an object", nullptr, 400);
  const json* id = member(message, "id");
  const json* method = member(message, "method");
  if (id != nullptr && valid_id(*id)) r.id = dump(*id);
  if (text_member(message, "jsonrpc") != "2.0")
    return error(r, error_code::invalid_request, "Invalid Request: \"jsonrpc\" must be \"2.0\"", nullptr, 400);
  // An answer: this server asks nothing, so it belongs to nothing.
  if (method == nullptr && (message.contains("result") || message.contains("error"))) return;
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
  if (calls_.count(r.id) != 0)
    return error(r, error_code::invalid_request, "Invalid Request: the id is that of a request under way", nullptr,
                 400);
  if (claims_envelope(r.params)) {
    if (open_envelope(r)) stateless(r);
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

bool dialog::open_envelope(request& r) {
  stateless_seen_ = true;
  const envelope e = read_envelope(r.params);
  r.spoken = newest;
  if (!e.fault.empty()) {
    error(r, error_code::invalid_params, "Invalid params: " + e.fault, nullptr, 400);
    return false;
  }
  if (!modern(revision_of(e.version))) {
    json data{{"supported", json::array({name_of(newest)})}, {"requested", e.version}};
    error(r, error_code::unsupported_version, "Unsupported protocol version", std::move(data), 400);
    return false;
  }
  r.spoken = revision_of(e.version);
  return true;
}

void dialog::legacy(request& r) {
  if (r.method == "initialize") return initialize(r);
  if (r.method == "ping") return result(r, "{}");
  if (r.method == "tools/list") return tools_list(r);
  if (r.method == "tools/call") return tools_call(r);
  error(r, error_code::method_not_found, "Method not found: " + r.method.substr(0, 100));
}

void dialog::stateless(request& r) {
  if (r.method == "server/discover") return discover(r);
  if (r.method == "tools/list") return tools_list(r);
  if (r.method == "tools/call") return tools_call(r);
  if (r.method == "subscriptions/listen") return listen(r);
  error(r, error_code::method_not_found, "Method not found: " + r.method.substr(0, 100), nullptr, 404);
}

void dialog::initialize(request& r) {
  const json* asked = member(r.params, "protocolVersion");
  if (asked == nullptr || !asked->is_string())
    return error(r, error_code::invalid_params, "Invalid params: \"protocolVersion\" must be a string");
  for (const char* name : {"capabilities", "clientInfo"})
    if (const json* value = member(r.params, name); value != nullptr && !value->is_object())
      return error(r, error_code::invalid_params, "Invalid params: \"" + std::string(name) + "\" must be an object");
  revision chosen = revision_of(asked->get_ref<const std::string&>());
  if (chosen == revision::unset || modern(chosen)) chosen = newest_legacy;
  agreed_ = chosen;
  json info{{"name", who_.name}, {"version", who_.version}};
  if (has_titles(chosen)) info["title"] = who_.title;
  json body{{"protocolVersion", name_of(chosen)}, {"capabilities", {{"tools", json::object()}}}};
  body["serverInfo"] = std::move(info);
  body["instructions"] = who_.instructions;
  r.spoken = chosen;
  result(r, dump(body));
}

std::string dialog::decorations() const {
  const json info{{"name", who_.name}, {"version", who_.version}};
  return "\"resultType\":\"complete\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":" + dump(info) + "}";
}

void dialog::discover(request& r) {
  const json body{{"supportedVersions", json::array({name_of(newest)})},
                  {"capabilities", {{"tools", json::object()}}},
                  {"instructions", who_.instructions},
                  {"ttlMs", 0},
                  {"cacheScope", "public"}};
  result(r, dump(body));
}

void dialog::listen(request& r) {
  const json* wanted = member(r.params, "notifications");
  if (wanted == nullptr || !wanted->is_object())
    return error(r, error_code::invalid_params, "Invalid params: \"notifications\" must be an object");
  if (calls_.size() >= max_in_flight) return error(r, error_code::internal_error, "Too many requests are under way");
  // The lists of this server never change and it has no resources: nothing of what was asked for is honoured, and the
  // stream stays open until the client cancels it.
  std::shared_ptr<tool_call> open(new tool_call);
  open->dialog_ = weak_from_this();
  open->id_ = r.id;
  open->revision_ = r.spoken;
  open->outlet_ = r.to;
  calls_[r.id] = open;
  r.to->send(
      "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"notifications\":{},"
      "\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":" +
          r.id + "}}}",
      outlet::kind::notification, 200);
}

const std::string& dialog::list_text(revision spoken) {
  std::string& text = lists_[spoken];
  if (!text.empty()) return text;
  text = "{\"tools\":[";
  for (const tool_info& tool : tools_.tools()) {
    if (text.back() != '[') text += ',';
    json row{{"name", tool.name}, {"description", tool.description}};
    row["inputSchema"] = json::parse(tool.input_schema);
    if (has_titles(spoken)) row["title"] = tool.title;
    if (has_structured_output(spoken)) row["outputSchema"] = json::parse(tool.output_schema);
    if (has_annotations(spoken))
      row["annotations"] = {{"title", tool.title},
                            {"readOnlyHint", (tool.hints & read_only) != 0},
                            {"destructiveHint", (tool.hints & destructive) != 0},
                            {"idempotentHint", (tool.hints & idempotent) != 0},
                            {"openWorldHint", (tool.hints & open_world) != 0}};
    if (has_titles(spoken)) row["annotations"].erase("title");
    if (tool.max_result_characters > 0) row["_meta"] = {{"anthropic/maxResultSizeChars", tool.max_result_characters}};
    text += dump(row);
  }
  text += modern(spoken) ? "],\"ttlMs\":0,\"cacheScope\":\"public\"}" : "]}";
  return text;
}

void dialog::tools_list(request& r) {
  // Everything fits on one page, so there is no cursor that this server gave out; "" is one like any other.
  if (const json* cursor = member(r.params, "cursor"); cursor != nullptr && !cursor->is_null())
    return error(r, error_code::invalid_params, "Invalid params: unknown cursor. List the tools without one");
  result(r, list_text(r.spoken));
}

void dialog::tools_call(request& r) {
  const json* name = member(r.params, "name");
  if (name == nullptr || !name->is_string())
    return error(r, error_code::invalid_params, "Invalid params: \"name\" must be a string");
  const std::string& wanted = name->get_ref<const std::string&>();
  bool known = false;
  for (const tool_info& tool : tools_.tools()) known = known || tool.name == wanted;
  if (!known) return error(r, error_code::invalid_params, "Unknown tool: " + wanted.substr(0, 100));
  const auto arguments = r.params.find("arguments");
  if (arguments != r.params.end() && !arguments->is_object() && !arguments->is_null())
    return error(r, error_code::invalid_params, "Invalid params: \"arguments\" must be an object");
  if (calls_.size() >= max_in_flight) return error(r, error_code::internal_error, "Too many requests are under way");
  std::shared_ptr<tool_call> call(new tool_call);
  call->dialog_ = weak_from_this();
  call->id_ = r.id;
  call->tool_ = wanted;
  call->revision_ = r.spoken;
  call->outlet_ = r.to;
  if (const json* meta = member(r.params, "_meta"))
    if (const json* token = member(*meta, "progressToken"); token != nullptr && valid_id(*token))
      call->progress_token_ = *token;
  if (arguments != r.params.end() && arguments->is_object()) call->arguments_ = std::move(*arguments);
  calls_[r.id] = call;
  tools_.start(call);
}

void dialog::cancel(const std::string& id) {
  const auto it = calls_.find(id);
  if (it == calls_.end()) return;
  const auto call = it->second;
  calls_.erase(it);
  call->answered_ = true;
  call->outlet_.reset();
  call->cancelled_ = true;
  if (const auto action = std::exchange(call->on_cancel_, nullptr)) action();
}

void dialog::close() {
  while (!calls_.empty()) cancel(std::string(calls_.begin()->first));
}

void dialog::result(const request& r, std::string_view body) {
  std::string text = "{\"jsonrpc\":\"2.0\",\"id\":" + r.id + ",\"result\":";
  text += body;
  if (modern(r.spoken)) {
    text.pop_back();
    if (text.back() != '{') text += ',';
    text += decorations() + "}";
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

void dialog::finish(tool_call& call, std::string body) {
  if (call.answered_) return;
  call.answered_ = true;
  const auto to = std::exchange(call.outlet_, nullptr);
  call.on_cancel_ = nullptr;
  std::string text;
  text.reserve(body.size() + call.id_.size() + 64);
  text.append("{\"jsonrpc\":\"2.0\",\"id\":").append(call.id_).append(1, ',').append(body).append(1, '}');
  calls_.erase(call.id_);
  to->send(std::move(text), outlet::kind::answer, 200);
}

void dialog::answer(tool_call& call, tool_result r) {
  const bool failed = r.how != tool_result::outcome::success;
  std::string body = "\"result\":{\"content\":[";
  if (!r.text.empty() || !r.picture) {
    body += "{\"type\":\"text\",\"text\":";
    append_quoted(body, r.text);
    body += '}';
  }
  if (r.picture) {
    if (!r.text.empty()) body += ',';
    body += "{\"type\":\"image\",\"mimeType\":\"" + r.picture->mime_type + "\",\"data\":\"" + r.picture->base64 + "\"}";
  }
  body += ']';
  if (!r.structured.is_null() && has_structured_output(call.revision_))
    body += ",\"structuredContent\":" + dump(r.structured);
  if (failed) body += ",\"isError\":true";
  if (modern(call.revision_)) body += "," + decorations();
  finish(call, std::move(body += '}'));
}

void dialog::refuse_arguments(tool_call& call, std::string text) {
  if (has_bad_arguments_as_result(call.revision_)) {
    tool_result r;
    r.how = tool_result::outcome::failure;
    r.text = std::move(text);
    return answer(call, std::move(r));
  }
  std::string body = "\"error\":{\"code\":-32602,\"message\":";
  append_quoted(body, "Invalid params: " + text);
  finish(call, std::move(body += '}'));
}

void tool_call::answer(tool_result result) {
  if (const auto d = dialog_.lock()) d->answer(*this, std::move(result));
}

void tool_call::fail(std::string text) {
  tool_result r;
  r.how = tool_result::outcome::failure;
  r.text = std::move(text);
  answer(std::move(r));
}

void tool_call::refuse_arguments(std::string text) {
  if (const auto d = dialog_.lock()) d->refuse_arguments(*this, std::move(text));
}

void tool_call::progress(double value, std::optional<double> total, const std::string& message) {
  if (answered_ || progress_token_.is_null() || !(value > last_progress_)) return;
  last_progress_ = value;
  json params{{"progressToken", progress_token_}, {"progress", value}};
  if (total) params["total"] = *total;
  if (!message.empty() && has_progress_message(revision_)) params["message"] = message;
  outlet_->send("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":" + dump(params) + "}",
                outlet::kind::notification, 200);
}

void tool_call::on_cancel(std::function<void()> action) {
  if (cancelled_) return action();
  if (!answered_) on_cancel_ = std::move(action);
}

}  // namespace caged::mcp
