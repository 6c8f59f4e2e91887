// Calls under way: how they begin, ask, and end.
#include <caged/mcp/envelope.hpp>

#include "request.hpp"

namespace caged::mcp {
namespace {

constexpr std::chrono::seconds seal_life{1800};

std::int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

const char* capability_of(const std::string& method) {
  if (method == "elicitation/create") return "elicitation";
  if (method == "sampling/createMessage") return "sampling";
  return method == "roots/list" ? "roots" : nullptr;
}

bool fits_type(const json& value, const std::string& type) {
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  return type != "array" || value.is_array();
}

// Whether `response` is an answer to what was asked, so far as the protocol says what one looks like.
bool answers_question(const json& question, const json& response) {
  if (!response.is_object()) return false;
  const std::string method = question.value("method", "");
  if (method == "roots/list") return member(response, "roots") != nullptr && response.at("roots").is_array();
  if (method == "sampling/createMessage") return member(response, "content") != nullptr;
  const std::string action = text_member(response, "action");
  if (action == "decline" || action == "cancel") return true;
  if (action != "accept") return false;
  const json* params = member(question, "params");
  const json* schema = params == nullptr ? nullptr : member(*params, "requestedSchema");
  if (schema == nullptr) return true;
  const json* content = member(response, "content");
  if (content == nullptr || !content->is_object()) return false;
  for (const json& name : schema->value("required", json::array()))
    if (!content->contains(name.get<std::string>())) return false;
  const json properties = schema->value("properties", json::object());
  for (const auto& [name, about] : properties.items())
    if (content->contains(name) && !fits_type(content->at(name), about.value("type", ""))) return false;
  return true;
}

// Content that a revision does not know becomes the text that says the same.
void downgrade_content(json& block, revision r) {
  const std::string type = text_member(block, "type");
  if (type == "audio" && !has_audio(r))
    block = {{"type", "text"}, {"text", "[audio that this revision of the protocol cannot carry]"}};
  if (type == "resource_link" && !has_resource_links(r))
    block = {{"type", "text"}, {"text", text_member(block, "uri")}};
}

void downgrade(json& result, revision r) {
  if (!has_structured_output(r)) result.erase("structuredContent");
  if (const auto content = result.find("content"); content != result.end() && content->is_array())
    for (json& block : *content) downgrade_content(block, r);
  if (const auto messages = result.find("messages"); messages != result.end() && messages->is_array())
    for (json& message : *messages)
      if (message.is_object() && message.contains("content")) downgrade_content(message["content"], r);
}

std::string error_body(int code, const std::string& message, const json& data) {
  std::string body = "\"error\":{\"code\":" + std::to_string(code) + ",\"message\":";
  append_quoted(body, message);
  if (!data.is_null()) body += ",\"data\":" + dump(data);
  return body + "}";
}

}  // namespace

bool dialog::begin(request& r, const char* name_member, list_kind where) {
  const auto refused = [&](std::string why) { return error(r, error_code::invalid_params, std::move(why)), false; };
  std::string wanted;
  if (name_member != nullptr) {
    const json* name = member(r.params, name_member);
    if (name == nullptr || !name->is_string())
      return refused("Invalid params: \"" + std::string(name_member) + "\" must be a string");
    wanted = name->get<std::string>();
  }
  if (where != list_kind::unset && find_declaration(in_.content->list(where), wanted) == nullptr)
    return refused((where == list_kind::tools ? "Unknown tool: " : "Unknown prompt: ") + wanted.substr(0, 100));
  const auto arguments = r.params.find("arguments");
  if (arguments != r.params.end() && !arguments->is_object() && !arguments->is_null())
    return refused("Invalid params: \"arguments\" must be an object");
  if (calls_.size() + listeners_.size() >= max_in_flight)
    return error(r, error_code::internal_error, "Too many requests are under way"), false;
  std::shared_ptr<tool_call> call(new tool_call);
  call->dialog_ = weak_from_this();
  call->id_ = r.id;
  call->method_ = r.method;
  call->tool_ = std::move(wanted);
  call->revision_ = r.spoken;
  call->outlet_ = r.to;
  call->log_from_ = modern(r.spoken) ? log_severity::unset : log_from_;
  if (const json* meta = member(r.params, "_meta")) {
    if (const json* token = member(*meta, "progressToken"); token != nullptr && valid_id(*token))
      call->progress_token_ = *token;
    if (modern(r.spoken)) {
      call->capabilities_ = meta->at(capabilities_key);
      call->log_from_ = severity_of(text_member(*meta, log_level_key));
    }
  }
  if (!modern(r.spoken)) call->capabilities_ = client_capabilities_;
  if (modern(r.spoken) && !take_answers(r, *call)) return false;
  if (arguments != r.params.end() && arguments->is_object()) call->arguments_ = std::move(*arguments);
  if (where != list_kind::tools) call->params_ = std::move(r.params);
  calls_[r.id] = call;
  in_.content->start(call);
  return true;
}

bool dialog::take_answers(request& r, tool_call& call) {
  const json* state = member(r.params, "requestState");
  const json* responses = member(r.params, "inputResponses");
  if (state == nullptr && responses == nullptr) return true;
  const auto refused = [&](const char* why) { return error(r, error_code::invalid_params, why), false; };
  if (responses != nullptr && !responses->is_object())
    return refused("Invalid params: \"inputResponses\" must be an object");
  json arguments = r.params.value("arguments", json::object());
  call.digest_ = r.method + "\n" + call.tool_ + "\n" + dump(arguments);
  if (state != nullptr) {
    const char* bad = "Invalid params: \"requestState\" is not what this server gave out for this request";
    if (!state->is_string() || !in_.seals) return refused(bad);
    const auto opened = in_.seals->open(state->get<std::string>());
    const parsed_json inside = opened ? parse_strict(*opened) : parsed_json{};
    if (!opened || !inside.fault.empty() || !inside.value.is_object()) return refused(bad);
    const json& s = inside.value;
    if (text_member(s, "principal") != in_.principal || text_member(s, "request") != call.digest_) return refused(bad);
    if (s.value("expires", std::int64_t{0}) < now_seconds())
      return refused("Invalid params: \"requestState\" has expired. Make the request anew");
    call.collected_ = s.value("answers", json::object());
  }
  if (responses != nullptr)
    for (const auto& [key, value] : responses->items()) call.params_["inputResponses"][key] = value;
  return true;
}

void dialog::finish(tool_call& call, std::string body, int http_status) {
  if (call.answered_) return;
  call.answered_ = true;
  const auto to = std::exchange(call.outlet_, nullptr);
  call.on_cancel_ = nullptr;
  std::string text;
  text.reserve(body.size() + call.id_.size() + 64);
  text.append("{\"jsonrpc\":\"2.0\",\"id\":").append(call.id_).append(1, ',').append(body).append(1, '}');
  const auto keep = call.shared_from_this();
  calls_.erase(call.id_);
  to->send(std::move(text), outlet::kind::answer, http_status);
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
  if (modern(call.revision_)) body += "," + decorations(in_.who);
  finish(call, std::move(body += '}'));
}

void dialog::refuse_arguments(tool_call& call, std::string text) {
  if (has_bad_arguments_as_result(call.revision_)) {
    tool_result r;
    r.how = tool_result::outcome::failure;
    r.text = std::move(text);
    return answer(call, std::move(r));
  }
  finish(call, error_body(-32602, "Invalid params: " + text, nullptr));
}

void dialog::ask(tool_call& call, const json& requests) {
  if (!modern(call.revision_)) {
    for (const auto& [key, question] : requests.items()) {
      const std::string id = "caged-" + std::to_string(++last_asked_);
      asked_[id] = {call.weak_from_this(), key};
      json message{{"jsonrpc", "2.0"}, {"id", id}, {"method", question.at("method")}};
      message["params"] = question.value("params", json::object());
      call.outlet_->send(dump(message), outlet::kind::request, 200);
    }
    return;
  }
  json state{{"principal", in_.principal},
             {"expires", now_seconds() + seal_life.count()},
             {"answers", call.collected_},
             {"nonce", random_handle("")}};
  state["request"] = call.method_ + "\n" + call.tool_ + "\n" + dump(call.arguments_);
  std::string body = "\"result\":{\"inputRequests\":" + dump(requests) + ",\"requestState\":";
  append_quoted(body, in_.seals ? in_.seals->seal(dump(state)) : std::string());
  body += "," + decorations(in_.who, "input_required") + "}";
  const auto keep = call.shared_from_this();
  const auto then = std::exchange(call.then_, nullptr);
  finish(call, std::move(body));
  if (then) then(std::nullopt);
}

bool tool_call::client_can(std::string_view path) const {
  if (path == "elicitation") {
    // `{}` means forms; a client that names only addresses cannot show one.
    const json* e = member(capabilities_, "elicitation");
    return e != nullptr && e->is_object() && (e->empty() || e->contains("form"));
  }
  if (path.rfind("extensions/", 0) == 0) {
    const json* all = member(capabilities_, "extensions");
    return all != nullptr && member(*all, std::string(path.substr(11)).c_str()) != nullptr;
  }
  return has_capability(capabilities_, path);
}

bool tool_call::may_ask(const json& requests) {
  json missing = json::object();
  for (const auto& [key, question] : requests.items()) {
    const char* needed = capability_of(question.value("method", ""));
    if (needed == nullptr) return refuse(-32603, "Internal error: the server asked what no client can answer"), false;
    if (!client_can(needed)) missing[needed] = json::object();
  }
  if (missing.empty()) return true;
  if (modern(revision_))
    refuse(-32021, "Missing required client capability", {{"requiredCapabilities", missing}}, 400);
  else
    fail("This needs a client with the capability \"" + missing.begin().key() + "\", which this one did not declare.");
  return false;
}

void tool_call::ask(const json& requests, answers then) {
  if ((answered_ && !task_) || cancelled_ || !may_ask(requests)) return then(std::nullopt);
  if (const json* given = member(params_, "inputResponses"))
    for (const auto& [key, question] : requests.items())
      if (!collected_.contains(key) && given->contains(key) && answers_question(question, given->at(key)))
        collected_[key] = given->at(key);
  json open = json::object();
  for (const auto& [key, question] : requests.items())
    if (!collected_.contains(key)) open[key] = question;
  if (open.empty()) return then(collected_);
  if (task_) {
    then_ = std::move(then);
    return task_store::ask(*task_, std::move(open));
  }
  const auto d = dialog_.lock();
  if (!d) return then(std::nullopt);
  open_questions_ = open;
  then_ = std::move(then);
  d->ask(*this, open);
}

void tool_call::give_up_questions() {
  open_questions_ = nullptr;
  if (const auto then = std::exchange(then_, nullptr)) then(std::nullopt);
}

void tool_call::answer(tool_result r) {
  if (task_) {
    json result{{"content", json::array()}};
    if (!r.text.empty() || !r.picture) result["content"].push_back({{"type", "text"}, {"text", r.text}});
    if (r.picture)
      result["content"].push_back({{"type", "image"}, {"mimeType", r.picture->mime_type}, {"data", r.picture->base64}});
    if (!r.structured.is_null()) result["structuredContent"] = std::move(r.structured);
    result["isError"] = r.how != tool_result::outcome::success;
    return task_store::complete(*task_, std::move(result));
  }
  if (const auto d = dialog_.lock()) d->answer(*this, std::move(r));
}

void tool_call::answer_document(json result) {
  if (task_) return task_store::complete(*task_, std::move(result));
  const auto d = dialog_.lock();
  if (!d) return;
  if (!modern(revision_)) {
    downgrade(result, revision_);
    return d->finish(*this, "\"result\":" + dump(result));
  }
  if (method_ == "resources/read" || method_ == "resources/list") {
    if (!result.contains("ttlMs")) result["ttlMs"] = 0;
    if (!result.contains("cacheScope")) result["cacheScope"] = "private";
  }
  std::string body = "\"result\":" + dump(result);
  body.pop_back();
  if (body.back() != '{') body += ',';
  d->finish(*this, body + decorations(d->in_.who) + "}");
}

void tool_call::fail(std::string text) {
  if (method_ != "tools/call") return refuse(-32603, std::move(text));
  tool_result r;
  r.how = tool_result::outcome::failure;
  r.text = std::move(text);
  answer(std::move(r));
}

void tool_call::refuse(int code, std::string message, json data, int http_status) {
  if (task_) {
    json body{{"code", code}, {"message", std::move(message)}};
    if (!data.is_null()) body["data"] = std::move(data);
    return task_store::break_off(*task_, std::move(body));
  }
  if (const auto d = dialog_.lock()) d->finish(*this, error_body(code, message, data), http_status);
}

void tool_call::refuse_unknown_resource(const std::string& uri) {
  refuse(modern(revision_) ? -32602 : -32002, "Resource not found: " + uri.substr(0, 300), {{"uri", uri}});
}

void tool_call::refuse_arguments(std::string text) {
  if (method_ != "tools/call") return refuse(-32602, "Invalid params: " + text);
  if (task_) return fail(std::move(text));
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

void tool_call::log(log_severity severity, const json& data, const std::string& logger) {
  if (answered_ || log_from_ == log_severity::unset || severity < log_from_) return;
  json params{{"level", name_of(severity)}, {"data", data}};
  if (!logger.empty()) params["logger"] = logger;
  outlet_->send("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":" + dump(params) + "}",
                outlet::kind::notification, 200);
}

bool tool_call::become_task(task_need need) {
  if (answered_) return task_ != nullptr;
  const auto d = dialog_.lock();
  const bool can = d && d->in_.tasks && modern(revision_) && client_can(std::string("extensions/") + tasks_extension);
  if (!can) {
    json wanted;
    wanted["extensions"][tasks_extension] = json::object();
    if (need == task_need::required && modern(revision_))
      refuse(-32021, "Missing required client capability", {{"requiredCapabilities", wanted}}, 400);
    else if (need == task_need::required)
      fail("This tool runs as a task only, which this revision of the protocol cannot follow.");
    return false;
  }
  const auto made = d->in_.tasks->make(shared_from_this(), d->in_.principal);
  if (!made) return refuse(-32603, "Too many tasks are kept. Cancel some, or wait until they are forgotten"), false;
  std::string body = "\"result\":" + dump(task_store::description(*made));
  body.pop_back();
  body += "," + decorations(d->in_.who, "task") + "}";
  auto action = std::exchange(on_cancel_, nullptr);
  d->finish(*this, std::move(body));
  on_cancel_ = std::move(action);
  task_ = made;
  return true;
}

void tool_call::hang_up() {
  if (!answered_ && outlet_) outlet_->hang_up();
}

void tool_call::on_cancel(std::function<void()> action) {
  if (cancelled_) return action();
  if (!answered_ || task_) on_cancel_ = std::move(action);
}

const std::vector<tool_info>& toolbox::tools() const {
  static const std::vector<tool_info> none;
  return none;
}

const json& toolbox::list(list_kind which) const {
  static const json nothing = json::array();
  if (which != list_kind::tools) return nothing;
  if (!listed_.is_null()) return listed_;
  listed_ = json::array();
  for (const tool_info& tool : tools()) {
    json row{{"name", tool.name}, {"title", tool.title}, {"description", tool.description}};
    row["inputSchema"] = json::parse(tool.input_schema);
    row["outputSchema"] = json::parse(tool.output_schema);
    row["annotations"] = {{"readOnlyHint", (tool.hints & read_only) != 0},
                          {"destructiveHint", (tool.hints & destructive) != 0},
                          {"idempotentHint", (tool.hints & idempotent) != 0},
                          {"openWorldHint", (tool.hints & open_world) != 0}};
    if (tool.max_result_characters > 0) row["_meta"] = {{"anthropic/maxResultSizeChars", tool.max_result_characters}};
    listed_.push_back(std::move(row));
  }
  return listed_;
}

const json* find_declaration(const json& list, std::string_view name) {
  for (const json& row : list)
    for (const char* key : {"name", "uri"})
      if (const auto it = row.find(key);
          it != row.end() && it->is_string() && it->get_ref<const std::string&>() == name)
        return &row;
  return nullptr;
}

namespace {
constexpr std::string_view severities[] = {"",      "debug",    "info",  "notice",   "warning",
                                           "error", "critical", "alert", "emergency"};
}

std::string_view name_of(log_severity s) noexcept { return severities[static_cast<std::size_t>(s)]; }

log_severity severity_of(std::string_view name) noexcept {
  for (std::size_t i = 1; i < std::size(severities); ++i)
    if (severities[i] == name) return static_cast<log_severity>(i);
  return log_severity::unset;
}

}  // namespace caged::mcp
