// The methods of both eras, but the calls of tools and what is subscribed to.
#include <algorithm>

#include <caged/mcp/envelope.hpp>

#include "request.hpp"

namespace caged::mcp {
namespace {

struct list_method {
  const char* method;
  list_kind which;
  const char* key;
};
constexpr list_method list_methods[] = {{"tools/list", list_kind::tools, "tools"},
                                        {"resources/list", list_kind::resources, "resources"},
                                        {"resources/templates/list", list_kind::templates, "resourceTemplates"},
                                        {"prompts/list", list_kind::prompts, "prompts"}};

const list_method* list_of(const std::string& method) {
  for (const list_method& row : list_methods)
    if (method == row.method) return &row;
  return nullptr;
}

const char* key_of(list_kind which) {
  for (const list_method& row : list_methods)
    if (which == row.which) return row.key;
  return "";
}

// Takes out of a declaration what a revision does not know.
json as_known_to(json row, list_kind which, revision r) {
  if (!has_icons(r)) row.erase("icons");
  if (!has_titles(r)) {
    if (which == list_kind::tools && has_annotations(r) && row.contains("annotations") && row.contains("title"))
      row["annotations"]["title"] = row["title"];
    row.erase("title");
  }
  if (which != list_kind::tools) return row;
  if (!has_annotations(r)) row.erase("annotations");
  if (!has_structured_output(r)) row.erase("outputSchema");
  return row;
}

}  // namespace

bool has_capability(const json& capabilities, std::string_view path) {
  const json* at = &capabilities;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    // Names of extensions have a slash in them.
    const bool whole = path.rfind("io.", 0) == 0;
    const std::string name(whole ? path : path.substr(0, slash));
    at = member(*at, name.c_str());
    if (at == nullptr || at->is_null() || *at == false) return false;
    path = whole || slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return true;
}

std::string decorations(const identity& who, std::string_view result_type) {
  const json info{{"name", who.name}, {"version", who.version}};
  return "\"resultType\":\"" + std::string(result_type) +
         "\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":" + dump(info) + "}";
}

void dialog::legacy(request& r) {
  const int can = in_.content->abilities();
  if (r.method == "initialize") return initialize(r);
  if (r.method == "ping") return result(r, "{}");
  if (const list_method* row = list_of(r.method); row != nullptr && known_method(r)) return show_list(r, row->which);
  if (r.method == "tools/call") return void(begin(r, "name", list_kind::tools));
  if (r.method == "prompts/get" && (can & prompts) != 0) return void(begin(r, "name", list_kind::prompts));
  if (r.method == "resources/read" && (can & resources_and_templates) != 0)
    return void(begin(r, "uri", list_kind::unset));
  if (r.method == "completion/complete" && (can & completions) != 0) return void(begin(r, nullptr, list_kind::unset));
  if (r.method == "logging/setLevel" && (can & logging) != 0) return set_level(r);
  if (r.method == "resources/subscribe" && (can & changes) != 0 && (can & resources_and_templates) != 0)
    return subscribe(r);
  if (r.method == "resources/unsubscribe" && (can & changes) != 0 && (can & resources_and_templates) != 0)
    return unsubscribe(r);
  error(r, error_code::method_not_found, "Method not found: " + r.method.substr(0, 100));
}

bool dialog::known_method(const request& r) const {
  const int can = in_.content->abilities();
  const std::string& m = r.method;
  if (m == "server/discover" || m == "tools/list" || m == "tools/call" || m == "subscriptions/listen") return true;
  if (m == "resources/list" || m == "resources/templates/list" || m == "resources/read")
    return (can & resources_and_templates) != 0;
  if (m == "prompts/list" || m == "prompts/get") return (can & prompts) != 0;
  if (m == "completion/complete") return (can & completions) != 0;
  if (m == "tasks/get" || m == "tasks/update" || m == "tasks/cancel") return (can & long_tasks) != 0 && in_.tasks;
  return false;
}

bool dialog::fields_agree(const request& r, const http_fields& fields) {
  const std::string version = text_member(r.params.at("_meta"), version_key);
  const std::string why = field_contradiction(fields, version, r.method, r.params);
  if (!why.empty()) error(r, error_code::header_mismatch, "Header mismatch: " + why, nullptr, 400);
  return why.empty();
}

void dialog::stateless(request& r, const http_fields* fields) {
  if (fields != nullptr && !fields_agree(r, *fields)) return;
  if (!known_method(r))
    return error(r, error_code::method_not_found, "Method not found: " + r.method.substr(0, 100), nullptr, 404);
  if (r.method == "server/discover") return discover(r);
  if (const list_method* row = list_of(r.method)) return show_list(r, row->which);
  if (r.method == "subscriptions/listen") return listen(r);
  if (r.method.rfind("tasks/", 0) == 0) return task_method(r);
  if (r.method == "tools/call") {
    if (fields != nullptr) {
      const json* tool = find_declaration(in_.content->list(list_kind::tools), text_member(r.params, "name"));
      const json* arguments = member(r.params, "arguments");
      const std::string why = tool == nullptr
                                  ? std::string()
                                  : parameter_contradiction(*fields, tool->value("inputSchema", json::object()),
                                                            arguments == nullptr ? json::object() : *arguments);
      if (!why.empty()) return error(r, error_code::header_mismatch, "Header mismatch: " + why, nullptr, 400);
    }
    return void(begin(r, "name", list_kind::tools));
  }
  if (r.method == "prompts/get") return void(begin(r, "name", list_kind::prompts));
  if (r.method == "resources/read") return void(begin(r, "uri", list_kind::unset));
  begin(r, nullptr, list_kind::unset);
}

json dialog::capabilities(revision r) const {
  const int can = in_.content->abilities();
  const bool tell = (can & changes) != 0;
  const auto part = [tell] { return tell ? json{{"listChanged", true}} : json::object(); };
  json all{{"tools", part()}};
  if ((can & resources_and_templates) != 0) all["resources"] = part();
  if ((can & resources_and_templates) != 0 && tell) all["resources"]["subscribe"] = true;
  if ((can & prompts) != 0) all["prompts"] = part();
  if ((can & completions) != 0 && r >= revision::v2025_03_26) all["completions"] = json::object();
  if ((can & logging) != 0) all["logging"] = json::object();
  if ((can & long_tasks) != 0 && modern(r) && in_.tasks) all["extensions"][tasks_extension] = json::object();
  return all;
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
  if (const json* declared = member(r.params, "capabilities")) client_capabilities_ = *declared;
  json info{{"name", in_.who.name}, {"version", in_.who.version}};
  if (has_titles(chosen)) info["title"] = in_.who.title;
  json body{{"protocolVersion", name_of(chosen)}, {"capabilities", capabilities(chosen)}};
  body["serverInfo"] = std::move(info);
  body["instructions"] = in_.who.instructions;
  r.spoken = chosen;
  result(r, dump(body));
}

void dialog::discover(request& r) {
  const json body{{"supportedVersions", json::array({name_of(newest)})},
                  {"capabilities", capabilities(newest)},
                  {"instructions", in_.who.instructions},
                  {"ttlMs", 0},
                  {"cacheScope", in_.principal.empty() ? "public" : "private"}};
  result(r, dump(body));
}

void dialog::set_level(request& r) {
  const log_severity asked = severity_of(text_member(r.params, "level"));
  if (asked == log_severity::unset)
    return error(r, error_code::invalid_params,
                 "Invalid params: \"level\" must be debug, info, notice, warning, error, critical, alert or emergency");
  log_from_ = asked;
  result(r, "{}");
}

const std::string& dialog::list_text(list_kind which, revision spoken) {
  std::string& text = lists_[{which, spoken}];
  if (!text.empty()) return text;
  text = std::string("{\"") + key_of(which) + "\":[";
  for (const json& row : in_.content->list(which)) {
    if (text.back() != '[') text += ',';
    text += modern(spoken) ? dump(row) : dump(as_known_to(row, which, spoken));
  }
  text += ']';
  if (modern(spoken))
    text += std::string(",\"ttlMs\":0,\"cacheScope\":\"") + (in_.principal.empty() ? "public" : "private") + "\"";
  return text += '}';
}

void dialog::show_list(request& r, list_kind which) {
  if (in_.content->lists_later(which)) return void(begin(r, nullptr, list_kind::unset));
  const json* cursor = member(r.params, "cursor");
  const json& all = in_.content->list(which);
  std::size_t from = 0;
  if (cursor != nullptr && !cursor->is_null()) {
    // Cursors are what this server gave out and nothing else; "" is one like any other.
    const std::string given = cursor->is_string() ? cursor->get<std::string>() : std::string();
    for (std::size_t at = page_entries; at < all.size() && from == 0; at += page_entries)
      if (given == "from-" + std::to_string(at)) from = at;
    if (from == 0)
      return error(r, error_code::invalid_params, "Invalid params: unknown cursor. Ask for the list without one");
  } else if (all.size() <= page_entries) {
    return result(r, list_text(which, r.spoken));
  }
  json body{{key_of(which), json::array()}};
  for (std::size_t at = from; at < std::min(all.size(), from + page_entries); ++at)
    body[key_of(which)].push_back(as_known_to(all[at], which, r.spoken));
  if (from + page_entries < all.size()) body["nextCursor"] = "from-" + std::to_string(from + page_entries);
  if (modern(r.spoken)) {
    body["ttlMs"] = 0;
    body["cacheScope"] = in_.principal.empty() ? "public" : "private";
  }
  result(r, dump(body));
}

}  // namespace caged::mcp
