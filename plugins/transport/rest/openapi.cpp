#include "openapi.hpp"

#include <algorithm>
#include <set>

namespace caged::rest {
namespace {

bool in_path(const operation_info& info, const std::string& name) {
  return info.path.find("{" + name + "}") != std::string::npos;
}

// Whether the properties that are not in the path come in a JSON body.
bool has_document_body(const operation_info& info) {
  return info.takes == payload::document && (info.method == "POST" || info.method == "PUT" || info.method == "PATCH");
}

// A schema of its own document refers into itself; inside the big document its definitions move to the components.
void move_references(json& schema, const std::string& prefix) {
  if (schema.is_array())
    for (auto& one : schema) move_references(one, prefix);
  if (!schema.is_object()) return;
  for (auto& [key, value] : schema.items()) {
    if (key == "$ref" && value.is_string()) {
      const std::string local = "#/$defs/";
      if (const auto text = value.get<std::string>(); text.starts_with(local))
        value = "#/components/schemas/" + prefix + text.substr(local.size());
    } else {
      move_references(value, prefix);
    }
  }
}

json embedded(json schema, const std::string& prefix, json& components) {
  if (!schema.is_object()) return schema;
  if (const auto it = schema.find("$defs"); it != schema.end()) {
    json definitions = *it;
    schema.erase("$defs");
    for (auto& [name, definition] : definitions.items()) {
      move_references(definition, prefix);
      components[prefix + name] = std::move(definition);
    }
  }
  schema.erase("$schema");
  schema.erase("$id");
  move_references(schema, prefix);
  return schema;
}

// The input without what the path carries.
json body_schema(const operation_info& info, const json& input) {
  json out = input;
  json properties = json::object(), required = json::array();
  const json all = input.value("properties", json::object());
  for (const auto& [name, schema] : all.items())
    if (!in_path(info, name)) properties[name] = schema;
  for (const auto& name : input.value("required", json::array()))
    if (name.is_string() && !in_path(info, name.get<std::string>())) required.push_back(name);
  out["properties"] = std::move(properties);
  out.erase("required");
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}

json parameter(const operation_info& info, const std::string& name, const json& schema, const json& required) {
  const bool path = in_path(info, name);
  const bool must = path || std::find(required.begin(), required.end(), json(name)) != required.end();
  json out{{"name", name}, {"in", path ? "path" : "query"}, {"required", must}, {"schema", schema}};
  if (schema.is_object() && schema.contains("description")) out["description"] = schema.at("description");
  return out;
}

json parameters(const operation_info& info, const json& input) {
  json out = json::array();
  const json required = input.value("required", json::array());
  const json properties = input.value("properties", json::object());
  std::set<std::string> seen;
  for (const auto& [name, schema] : properties.items()) {
    if (!in_path(info, name) && has_document_body(info)) continue;
    out.push_back(parameter(info, name, schema, required));
    seen.insert(name);
  }
  // A parameter that the input schema forgot is still part of the path.
  for (std::size_t at = info.path.find('{'); at != std::string::npos; at = info.path.find('{', at + 1)) {
    const auto name = info.path.substr(at + 1, info.path.find('}', at) - at - 1);
    if (!seen.contains(name)) out.push_back(parameter(info, name, {{"type", "string"}}, required));
  }
  return out;
}

json request_body(const operation_info& info, const json& input) {
  json content = json::object();
  if (info.takes == payload::bytes) {
    content["application/octet-stream"] = json::object();
    content["application/json"] = {{"schema", {{"type", "object"}}}};
    return {{"required", true}, {"content", std::move(content)}};
  }
  const json schema = body_schema(info, input);
  json media{{"schema", schema}};
  json examples = json::object();
  for (const auto& example : info.examples) {
    json value = json::object();
    for (const auto& [name, part] : example.input.items())
      if (!in_path(info, name)) value[name] = part;
    examples[example.summary.empty() ? "example" + std::to_string(examples.size() + 1) : example.summary] = {
        {"value", value}};
  }
  if (!examples.empty()) media["examples"] = std::move(examples);
  content["application/json"] = std::move(media);
  return {{"required", schema.contains("required")}, {"content", std::move(content)}};
}

json success(const operation_info& info, json output) {
  json out{{"description", info.summary.empty() ? info.name : info.summary}};
  switch (info.gives) {
    case payload::document:
      if (info.success != 204) out["content"]["application/json"] = {{"schema", std::move(output)}};
      break;
    case payload::bytes:
      out["content"]["application/octet-stream"] = json::object();
      break;
    case payload::items:
      out["description"] =
          out["description"].get<std::string>() + " Server-Sent Events; the data of each is such a document.";
      out["content"]["text/event-stream"] = {{"schema", std::move(output)}};
      break;
    case payload::duplex:
      out["description"] = "The WebSocket is open.";
      break;
  }
  return out;
}

json operation_object(const operation_info& info, json& components) {
  const json input = embedded(info.input, info.name + ".in.", components);
  json output = embedded(info.output.is_null() ? json::object() : info.output, info.name + ".out.", components);
  const auto status = info.gives == payload::duplex ? std::string("101") : std::to_string(info.success);
  json out{{"operationId", info.name},
           {"summary", info.summary},
           {"tags", json::array({info.name.substr(0, info.name.find('.'))})}};
  if (!info.description.empty()) out["description"] = info.description;
  json list = parameters(info, input);
  if (!list.empty()) out["parameters"] = std::move(list);
  if (info.takes == payload::bytes || has_document_body(info)) out["requestBody"] = request_body(info, input);
  out["responses"][status] = success(info, std::move(output));
  out["responses"]["default"] = {{"$ref", "#/components/responses/problem"}};
  if (info.needs == scope::open) out["security"] = json::array();
  out["x-caged-scope"] = std::string(to_string(info.needs));
  return out;
}

json problem_schema() {
  const json text{{"type", "string"}};
  return {{"type", "object"},
          {"required", {"type", "title", "status", "detail", "reason"}},
          {"properties",
           {{"type", text},
            {"title", text},
            {"status", {{"type", "integer"}}},
            {"detail", text},
            {"reason",
             {{"type", "object"},
              {"required", {"code", "message", "action"}},
              {"properties", {{"code", text}, {"message", text}, {"action", text}, {"path", text}}}}}}}};
}

json own_route(const char* id, const char* summary, const char* type, bool open) {
  json out{{"operationId", id}, {"summary", summary}, {"tags", {"host"}}};
  out["responses"]["200"] = {{"description", summary}, {"content", {{type, json::object()}}}};
  out["responses"]["default"] = {{"$ref", "#/components/responses/problem"}};
  if (open) out["security"] = json::array();
  return {{"get", std::move(out)}};
}

}  // namespace

json openapi_document(const std::vector<const operation_info*>& operations, const std::string& version) {
  json components = json::object(), paths = json::object();
  for (const auto* info : operations) {
    if (info->method.empty() || info->path.empty()) continue;
    std::string method = info->method;
    std::transform(method.begin(), method.end(), method.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    paths[info->path][method] = operation_object(*info, components);
  }
  paths["/healthz"] = own_route("http.health", "Whether the server serves", "application/json", true);
  paths["/metrics"] = own_route("http.metrics", "Counters as Prometheus text", "text/plain", false);
  paths["/openapi.json"] = own_route("http.openapi", "This document", "application/json", true);
  components["Problem"] = problem_schema();
  json out{{"openapi", "3.1.0"},
           {"info", {{"title", "Caged"}, {"version", version}, {"summary", "Sandboxes for AI coding agents"}}},
           {"servers", json::array({{{"url", "/"}}})},
           {"security", json::array({{{"bearer", json::array()}}, {{"apiKey", json::array()}}})},
           {"paths", std::move(paths)}};
  json& parts = out["components"];
  parts["schemas"] = std::move(components);
  parts["responses"]["problem"] = {
      {"description", "The request was refused (RFC 7807)."},
      {"content", {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}};
  parts["securitySchemes"] = {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
                              {"apiKey", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-API-Key"}}}};
  return out;
}

}  // namespace caged::rest
