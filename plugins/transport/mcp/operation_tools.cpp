// Operations of the registry as tools.
#include <caged/base64.hpp>

#include <algorithm>

#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

constexpr std::size_t page = 40'000;

// What a model has no use for: made for programs that keep a connection or a secret.
bool hidden(const operation_info& o) {
  if (o.gives == payload::duplex || o.gives == payload::items) return true;
  if (o.name.starts_with("auth.") || o.name.starts_with("key.") || o.name.starts_with("terminal.")) return true;
  return o.needs == scope::open;
}

bool about_sandbox(const operation_info& o) { return o.path.starts_with("/v1/sandboxes/{id}"); }

std::string tool_name(const operation_info& o) {
  std::string name = o.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

bool gives_object(const operation_info& o) {
  return o.gives == payload::document && o.output.is_object() && o.output.value("type", json()) == "object";
}

json output_schema(const operation_info& o) {
  if (gives_object(o)) return o.output;
  if (o.gives == payload::bytes)
    return {{"type", "object"},
            {"properties",
             {{"content", {{"type", "string"}}},
              {"base64", {{"type", "string"}}},
              {"bytes", {{"type", "integer"}}},
              {"truncated", {{"type", "boolean"}}}}}};
  json schema{{"type", "object"}, {"properties", json::object()}};
  schema["properties"]["result"] = o.output.is_object() ? o.output : json::object();
  return schema;
}

json input_schema(const view& v, const operation_info& o) {
  json schema = o.input.is_object() ? o.input : json{{"type", "object"}};
  if (!v.sandbox().empty()) {
    if (schema.contains("properties")) schema["properties"].erase("id");
    if (schema.contains("required")) {
      json kept = json::array();
      for (const json& name : schema["required"])
        if (name != "id") kept.push_back(name);
      schema["required"] = std::move(kept);
    }
  }
  if (o.takes == payload::bytes) {
    schema["properties"]["content"] = {{"type", "string"}, {"description", "What is written, as text."}};
    schema["properties"]["content_base64"] = {{"type", "string"}, {"description", "The same as base64, for bytes."}};
  }
  return schema;
}

json declaration(const view& v, const operation_info& o) {
  json row{{"name", tool_name(o)}, {"title", o.summary}};
  row["description"] = (o.description.empty() ? o.summary : o.description).substr(0, 1900);
  row["inputSchema"] = input_schema(v, o);
  row["outputSchema"] = output_schema(o);
  row["annotations"] = {{"readOnlyHint", o.read_only},
                        {"destructiveHint", o.destructive},
                        {"idempotentHint", o.idempotent || o.read_only},
                        {"openWorldHint", o.name == "sandbox.exec"}};
  row["_meta"] = {{"anthropic/maxResultSizeChars", 60000}};
  return row;
}

const operation_info* operation_of(const view& v, const std::string& tool) {
  for (const operation_info* o : v.shared().ops.list())
    if (!hidden(*o) && tool_name(*o) == tool) return o;
  return nullptr;
}

class text_source : public byte_source {
 public:
  explicit text_source(std::string text) : text_(std::move(text)), size_(text_.size()) {}
  task<std::string> read() override { co_return std::exchange(text_, {}); }
  std::optional<std::uint64_t> size() const override { return size_; }

 private:
  std::string text_;
  std::size_t size_;
};

bool is_utf8(const std::string& text) {
  std::string quoted;
  return to_text(json(text)).find("\\ufffd") == std::string::npos &&
         to_text(json(text)).find("\xef\xbf\xbd") == std::string::npos;
}

// Bytes as a page: text where they are, base64 otherwise.
task<json> bytes_page(std::shared_ptr<byte_source> from) {
  std::string all;
  while (all.size() <= page) {
    auto piece = co_await from->read();
    if (piece.has_error()) co_return piece.error();
    if (piece->empty()) break;
    all += *piece;
  }
  const bool cut = all.size() > page;
  if (cut) all.resize(page);
  while (cut && !all.empty() && (all.back() & 0xc0) == 0x80) all.pop_back();
  if (cut && !all.empty() && (all.back() & 0x80) != 0) all.pop_back();
  json body{{"bytes", all.size()}, {"truncated", cut}};
  if (is_utf8(all))
    body["content"] = std::move(all);
  else
    body["base64"] = base64_encode(all);
  co_return body;
}

}  // namespace

json operation_tools(const view& v) {
  json rows = json::array();
  for (const operation_info* o : v.shared().ops.list()) {
    if (hidden(*o) || !v.sees(o->needs)) continue;
    const bool bound = !v.sandbox().empty() || !v.who().sandbox_id.empty();
    if (bound && !about_sandbox(*o)) continue;
    rows.push_back(declaration(v, *o));
  }
  std::sort(rows.begin(), rows.end(), [](const json& a, const json& b) {
    return a["name"].get_ref<const std::string&>() < b["name"].get_ref<const std::string&>();
  });
  return rows;
}

void fail_call(const call_ptr& c, const error& e) {
  const std::string text =
      e.message + (e.action.empty() ? "" : ". " + e.action) + (e.path.empty() ? "" : " (at " + e.path + ")");
  if (e.code == errc::invalid_argument)
    c->refuse_arguments(text);
  else
    c->fail(text);
}

task<void> run_operation_tool(view_ptr v, call_ptr c) {
  const operation_info* o = operation_of(*v, c->tool());
  if (o == nullptr) co_return fail(errc::not_found, "no_such_tool", "the tool is gone", "List the tools again.");
  json arguments = c->arguments();
  if (!v->sandbox().empty()) {
    if (arguments.contains("id"))
      co_return fail(errc::invalid_argument, "id_given", "this endpoint is about one sandbox, so there is no id",
                     "Leave id out.", "/id");
    arguments["id"] = v->sandbox();
  }
  if (o->name == "sandbox.exec" && !arguments.value("background", json(false)).is_null() &&
      arguments.value("background", json(false)) != true)
    co_return co_await run_exec_tool(v, c, std::move(arguments));
  std::shared_ptr<byte_source> body;
  if (o->takes == payload::bytes) {
    std::string text;
    if (arguments.contains("content") && arguments["content"].is_string())
      text = arguments["content"].get<std::string>();
    if (arguments.contains("content_base64") && arguments["content_base64"].is_string()) {
      const auto bytes = base64_decode(arguments["content_base64"].get<std::string>());
      if (!bytes)
        co_return fail(errc::invalid_argument, "bad_base64", "content_base64 is not base64", "Encode the bytes.",
                       "/content_base64");
      text = *bytes;
    }
    arguments.erase("content");
    arguments.erase("content_base64");
    body = std::make_shared<text_source>(std::move(text));
  }
  auto done = co_await v->invoke(o->name, std::move(arguments), std::move(body));
  if (done.has_error()) co_return done.error();
  json structured;
  if (o->gives == payload::bytes && done->bytes) {
    auto read = co_await bytes_page(done->bytes);
    if (read.has_error()) co_return read.error();
    structured = std::move(*read);
  } else if (gives_object(*o) && done->body.is_object()) {
    structured = std::move(done->body);
  } else {
    structured = json::object();
    structured["result"] = std::move(done->body);
  }
  mcp::tool_result r;
  if (structured.contains("content") && structured["content"].is_string() && o->gives == payload::bytes)
    r.text = structured["content"].get<std::string>();
  else
    r.text = to_text(structured);
  if (r.text.size() > page)
    r.text = "[" + std::to_string(r.text.size()) +
             " characters; the whole is in structuredContent, or narrow the question]\n" + r.text.substr(0, page);
  r.structured = std::move(structured);
  c->answer(std::move(r));
  co_return result<void>{};
}

}  // namespace caged::transport_mcp
