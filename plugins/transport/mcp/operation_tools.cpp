// Operations of the registry as tools.
#include <caged/base64.hpp>

#include <algorithm>

#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

constexpr std::size_t page = 40'000;
constexpr std::size_t base64_page = 30'000;  // as many characters of base64

// What is for people and for the programs of the host, not for agents in whose hands approvals, policies and secrets
// would be worth nothing. Operations that plugins add have families of their own, and stay.
bool for_people(std::string_view name) {
  static constexpr std::string_view families[] = {"account.", "alert.",  "approval.",     "auth.",
                                                  "event.",   "host.",   "key.",          "policy.",
                                                  "plugin.",  "secret.", "notification.", "terminal."};
  static constexpr std::string_view single[] = {"snapshot.download", "snapshot.upload", "snapshot.content"};
  return std::any_of(std::begin(families), std::end(families), [&](auto f) { return name.starts_with(f); }) ||
         std::find(std::begin(single), std::end(single), name) != std::end(single);
}

bool hidden(const operation_info& o) {
  if (for_people(o.name) || o.needs == scope::open || o.gives == payload::duplex) return true;
  return o.gives == payload::items && !reads_items(o.name);
}

// The argument that says which sandbox it is about; nullptr when there is none.
const char* subject_of(const operation_info& o) {
  if (o.path.starts_with("/v1/sandboxes/{id}")) return "id";
  return o.name == "snapshot.restore" ? "target_sandbox_id" : nullptr;
}

// A credential that is good for one sandbox only is compared with `id`.
bool usable_by(const view& v, const operation_info& o) {
  if (!v.sees(o.needs)) return false;
  if (v.sandbox().empty()) return true;
  const char* subject = subject_of(o);
  return subject != nullptr && (v.who().sandbox_id.empty() || std::string_view(subject) == "id");
}

// Arguments as the operation takes them, from those of the door of one sandbox.
task<json> about_this_sandbox(view_ptr v, const operation_info* o, json arguments) {
  const char* subject = subject_of(*o);
  for (const char* name : {subject, "sandbox_id"})
    if (arguments.contains(name))
      co_return fail(errc::invalid_argument, "sandbox_given",
                     std::string("this endpoint is about one sandbox, so there is no ") + name, "Leave it out.",
                     std::string("/") + name);
  if (o->name == "snapshot.restore") {
    json which{{"snapshot", arguments.value("snapshot", json())}};
    auto facts = co_await v->invoke("snapshot.get", which);
    if (facts.has_error()) co_return facts.error();
    if (facts->body.value("sandbox_id", "") != v->sandbox())
      co_return fail(errc::not_found, "snapshot_not_found", "this sandbox has no such snapshot", "See snapshot_list.",
                     "/snapshot");
  }
  arguments[subject] = v->sandbox();
  co_return arguments;
}

std::string tool_name(const operation_info& o) {
  std::string name = o.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

bool gives_object(const operation_info& o) {
  return o.gives == payload::document && o.output.is_object() && o.output.value("type", json()) == "object";
}

// Schemas of answers say what there is; what it means the answer shows, and a list of tools is read as a whole.
void strip_descriptions(json& schema) {
  if (schema.is_object()) {
    if (const auto at = schema.find("description"); at != schema.end() && at->is_string()) schema.erase(at);
    for (auto& [name, member] : schema.items()) strip_descriptions(member);
  } else if (schema.is_array()) {
    for (json& member : schema) strip_descriptions(member);
  }
}

json output_schema(const operation_info& o) {
  if (gives_object(o)) return o.output;
  if (o.gives == payload::bytes)
    return {{"type", "object"},
            {"properties",
             {{"content", {{"type", "string"}}},
              {"base64", {{"type", "string"}}},
              {"bytes", {{"type", "integer"}}},
              {"total_bytes", {{"type", "integer"}}},
              {"truncated", {{"type", "boolean"}}},
              {"next_range", {{"type", "string"}}}}}};
  json schema{{"type", "object"}, {"properties", json::object()}};
  schema["properties"]["result"] = o.output.is_object() ? o.output : json::object();
  return schema;
}

json input_schema(const view& v, const operation_info& o) {
  json schema = o.input.is_object() ? o.input : json{{"type", "object"}};
  if (!v.sandbox().empty()) {
    if (schema.contains("properties"))
      for (const char* name : {"id", "sandbox_id", "target_sandbox_id"}) schema["properties"].erase(name);
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
  strip_descriptions(row["outputSchema"]);
  row["annotations"] = {{"readOnlyHint", o.read_only},
                        {"destructiveHint", o.destructive},
                        {"idempotentHint", o.idempotent || o.read_only},
                        {"openWorldHint", o.name == "sandbox.exec"}};
  row["_meta"] = {{"anthropic/maxResultSizeChars", 60000}};
  return reads_items(o.name) ? items_tool_declaration(o.name, std::move(row)) : row;
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

bool is_text(const std::string& bytes) {
  try {
    (void)json(bytes).dump();  // strict
    return bytes.find('\0') == std::string::npos;
  } catch (const json::exception&) {
    return false;
  }
}

// Without a character at the end whose rest is on the next page.
std::string without_half(std::string text) {
  std::size_t lead = text.size();
  while (lead > 0 && text.size() - lead < 3 && (static_cast<unsigned char>(text[lead - 1]) & 0xc0) == 0x80) --lead;
  if (lead > 0 && (static_cast<unsigned char>(text[lead - 1]) & 0x80) != 0) text.resize(lead - 1);
  return text;
}

std::string header_of(const reply& from, std::string_view name) {
  for (const auto& [key, value] : from.headers)
    if (key == name) return value;
  return {};
}

std::uint64_t number_at(std::string_view text) {
  std::uint64_t n = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') break;
    n = n * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return n;
}

// Bytes as a page: text where they are, base64 otherwise; with the total, and the range to go on with.
task<json> bytes_page(reply from) {
  const std::string part = header_of(from, "Content-Range");  // "bytes 10-19/100"
  const std::uint64_t begin = part.empty() ? 0 : number_at(part.substr(std::min<std::size_t>(6, part.size())));
  if (from.status == 416)
    co_return fail(errc::invalid_argument, "range_beyond_end",
                   "the file has " + part.substr(part.find('/') + 1) + " bytes only", "Begin before that.", "/range");
  std::string all;
  while (all.size() <= page) {
    auto piece = co_await from.bytes->read();
    if (piece.has_error()) co_return piece.error();
    if (piece->empty()) break;
    all += *piece;
  }
  const bool cut = all.size() > page;
  if (cut) all.resize(page);
  std::string text = cut ? without_half(all) : all;
  const bool readable = is_text(text);
  if (!readable && all.size() > base64_page) all.resize(base64_page);
  json body = json::object();
  const std::uint64_t bytes = readable ? text.size() : all.size();
  std::uint64_t total = begin + bytes;
  if (!part.empty())
    total = number_at(part.substr(part.find('/') + 1));
  else if (const std::string whole = header_of(from, "Content-Length"); !whole.empty())
    total = number_at(whole);
  const bool more = cut || (!readable && bytes == base64_page);
  body["bytes"] = bytes;
  body["total_bytes"] = total;
  body["truncated"] = more;
  if (more) body["next_range"] = "bytes=" + std::to_string(begin + bytes) + "-";
  if (readable)
    body["content"] = std::move(text);
  else
    body["base64"] = base64_encode(all);
  co_return body;
}

}  // namespace

json operation_tools(const view& v) {
  json rows = json::array();
  for (const operation_info* o : v.shared().ops.list()) {
    if (!hidden(*o) && usable_by(v, *o)) rows.push_back(declaration(v, *o));
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
    auto own = co_await about_this_sandbox(v, o, std::move(arguments));
    if (own.has_error()) co_return own.error();
    arguments = std::move(*own);
  }
  if (o->name == "sandbox.exec" && !arguments.value("background", json(false)).is_null() &&
      arguments.value("background", json(false)) != true)
    co_return co_await run_exec_tool(v, c, std::move(arguments));
  if (reads_items(o->name)) co_return co_await run_items_tool(v, c, o->name, std::move(arguments));
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
  if (o->gives == payload::bytes) {
    auto read = co_await bytes_page(std::move(*done));
    if (read.has_error()) co_return read.error();
    structured = std::move(*read);
  } else if (gives_object(*o) && done->body.is_object()) {
    structured = std::move(done->body);
  } else {
    structured = json::object();
    structured["result"] = std::move(done->body);
  }
  mcp::tool_result r;
  if (o->gives == payload::bytes && structured.contains("content")) {
    r.text = structured["content"].get<std::string>();
    if (structured["truncated"] == true)
      r.text += "\n[" + structured["bytes"].dump() + " of " + structured["total_bytes"].dump() +
                " bytes; go on with range \"" + structured["next_range"].get<std::string>() + "\"]";
  } else {
    const bool nothing = structured.size() == 1 && structured.contains("result") && structured["result"].is_null();
    r.text = nothing ? "done" : to_text(structured);
    if (r.text.size() > page + 1000)
      r.text = "[" + std::to_string(r.text.size()) +
               " characters; the whole is in structuredContent, or narrow the question]\n" + r.text.substr(0, page);
  }
  r.structured = std::move(structured);
  c->answer(std::move(r));
  co_return result<void>{};
}

}  // namespace caged::transport_mcp
