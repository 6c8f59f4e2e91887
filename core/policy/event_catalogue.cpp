#include <core/policy/event_catalogue.hpp>

namespace caged::policy {
namespace {

std::vector<event_type> gates() {
  return {
      {"sandbox.create",
       true,
       "lifecycle",
       "A sandbox is about to be made.",
       {{"template", "string", "template name"},
        {"cpus", "number", "processors asked for"},
        {"memory_mb", "integer", "memory asked for"},
        {"disk_gb", "integer", "disk asked for"},
        {"network_mode", "string", "none, allowlist or full"},
        {"allowed_hosts", "array", "host patterns of allowlist mode"},
        {"repo", "string", "repository to clone"},
        {"init_script", "string", "shell text run after the clone"},
        {"packages", "array", "packages installed at boot"},
        {"agents", "array", "coding agents installed at boot"},
        {"env_names", "array", "names of the environment variables; values are never shown"},
        {"budget_micros", "integer", "spending cap in micro-dollars, 0 = none"},
        {"account", "string", "who asks"}}},
      {"command",
       true,
       "command",
       "A command is about to be started through the API, MCP or a terminal.",
       {{"command", "string", "shell text, when a shell will read it"},
        {"argv", "array", "argument vector, when there is no shell"},
        {"cwd", "string", "working folder"},
        {"user", "string", "user it will run as"},
        {"source", "string", "rest, mcp, pty, e2b, init"}}},
      {"file_op",
       true,
       "file_op",
       "A file operation through the API or MCP is about to be done.",
       {{"operation", "string", "read, write, create, delete, rename, chmod, mkdir, list, search"},
        {"path", "string", "absolute path inside the sandbox"},
        {"target", "string", "second path of a rename, copy or link"},
        {"mode", "integer", "permission bits asked for"},
        {"size", "integer", "bytes to be written"},
        {"source", "string", "rest, mcp, e2b"}}},
      {"network.connect",
       true,
       "network",
       "A connection out of the sandbox is about to be made.",
       {{"host", "string", "name by SNI, Host header or DNS; empty when there is none"},
        {"address", "string", "address the sandbox dialled"},
        {"port", "integer", "port"},
        {"protocol", "string", "tls, http, tcp, dns"},
        {"mode", "string", "the sandbox's network mode"},
        {"allowed_hosts", "array", "its host patterns"},
        {"exe", "string", "program that connects, where the host knows it"},
        {"pid", "integer", "its process id"}}},
      {"llm_request",
       true,
       "llm_call",
       "A model call is about to be forwarded.",
       {{"provider", "string", "anthropic, openai, google, …"},
        {"model", "string", "model asked for"},
        {"input_tokens", "integer", "estimate from the request's size"},
        {"max_output_tokens", "integer", "most that may come back"},
        {"cost_max_micros", "integer", "worst case in micro-dollars"},
        {"stream", "boolean", "streamed answer"}}},
  };
}

std::vector<event_type> facts() {
  return {
      {"lifecycle",
       false,
       "",
       "A sandbox or session changed its state.",
       {{"state", "string", "new state"}, {"previous", "string", "state before"}, {"reason", "string", "why"}}},
      {"command",
       false,
       "",
       "A program was started, seen at the boundary (source exec) or asked for through the API.",
       {{"command", "string", "shell text, where one is known"},
        {"argv", "array", "argument vector"},
        {"path", "string", "program file"},
        {"cwd", "string", "working folder"},
        {"user", "string", "user name"},
        {"uid", "integer", "user id inside the sandbox"},
        {"pid", "integer", "process id"},
        {"ppid", "integer", "parent's process id"},
        {"ancestors", "array", "program names upwards, nearest first"},
        {"stdin", "string", "what standard input is: tty, pipe, file, socket, null"},
        {"exit_code", "integer", "exit code, once known"},
        {"source", "string", "exec (evidence), rest, mcp, pty, e2b, init"},
        {"reported", "boolean", "told by the sandbox itself, not seen by the host"}}},
      {"file_op",
       false,
       "",
       "A file was touched.",
       {{"operation", "string", "read, write, create, delete, rename, chmod, mkdir"},
        {"path", "string", "absolute path inside the sandbox"},
        {"target", "string", "second path of a rename or link"},
        {"mode", "integer", "permission bits now"},
        {"size", "integer", "size now"},
        {"count", "integer", "how many equal operations were coalesced into this one; 1 when absent"},
        {"preexisting", "boolean", "the file was there before the session"},
        {"lookup", "boolean", "the C library's own user or host look-up"},
        {"exe", "string", "program that did it"},
        {"pid", "integer", "its process id"},
        {"uid", "integer", "its user id"},
        {"ancestors", "array", "program names upwards, nearest first"},
        {"source", "string", "exec (evidence), rest, mcp, e2b"}}},
      {"network",
       false,
       "",
       "A connection or name look-up, allowed or denied.",
       {{"operation", "string", "connect, dns, close"},
        {"host", "string", "name"},
        {"address", "string", "address dialled"},
        {"port", "integer", "port"},
        {"protocol", "string", "tls, http, tcp, dns"},
        {"verdict", "string", "allow or deny"},
        {"rule", "string", "rule that decided"},
        {"bytes_in", "integer", "received, on close"},
        {"bytes_out", "integer", "sent, on close"},
        {"query_type", "string", "DNS record type"},
        {"exe", "string", "program, where the host knows it"},
        {"pid", "integer", "its process id"}}},
      {"package",
       false,
       "",
       "A package was fetched.",
       {{"manager", "string", "npm, pip, cargo, apt, go, gem"},
        {"name", "string", "package name"},
        {"version", "string", "version"},
        {"registry", "string", "host it came from"},
        {"in_lockfile", "boolean", "the project's lock file names it; absent when there is none"}}},
      {"llm_call",
       false,
       "",
       "A model call was answered.",
       {{"provider", "string", "provider"},
        {"model", "string", "model"},
        {"input_tokens", "integer", "tokens in"},
        {"output_tokens", "integer", "tokens out"},
        {"cost_micros", "integer", "cost in micro-dollars"},
        {"status", "integer", "HTTP status"}}},
      {"tool_call",
       false,
       "",
       "A tool of the platform was called.",
       {{"tool", "string", "name"},
        {"arguments", "object", "arguments, redacted"},
        {"is_error", "boolean", "it failed"}}},
      {"error",
       false,
       "",
       "Something failed.",
       {{"message", "string", "for people"}, {"reason", "string", "for programs"}, {"source", "string", "where"}}},
      {"budget",
       false,
       "",
       "Spending crossed a mark.",
       {{"spent_micros", "integer", "spent so far"},
        {"limit_micros", "integer", "cap"},
        {"percent", "number", "mark"}}},
      {"policy_error",
       false,
       "",
       "A policy failed to answer.",
       {{"policy", "string", "its name"},
        {"reason", "string", "policy_error, policy_budget, policy_verdict, policy_state"},
        {"message", "string", "for people"},
        {"event_type", "string", "type of the event it was asked about"},
        {"event_id", "integer", "that event"}}},
      {"desktop", false, "", "An action on a sandbox's desktop.", {{"action", "string", "what was done"}}},
      {"other", false, "", "A reported event of a type that is not in this catalogue.", {}},
  };
}

const event_type* find(std::string_view name, bool gate) noexcept {
  for (const auto& type : event_types()) {
    if (type.gate == gate && type.name == name) return &type;
  }
  return nullptr;
}

bool fits(const json& value, std::string_view type) {
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  return value.is_object();
}

void append_table(std::string& out, const event_type& type) {
  out += "### `" + std::string(type.name) + "`\n\n" + std::string(type.summary) + "\n\n";
  if (type.gate) out += "Recorded as `" + std::string(type.recorded_as) + "`.\n\n";
  if (type.fields.empty()) return;
  out += "| field | type | meaning |\n|---|---|---|\n";
  for (const auto& field : type.fields) {
    out += "| `" + std::string(field.name) + "` | " + std::string(field.type) + " | " + std::string(field.summary) +
           " |\n";
  }
  out += "\n";
}

}  // namespace

const std::vector<event_type>& event_types() {
  static const std::vector<event_type> all = [] {
    auto types = gates();
    auto more = facts();
    types.insert(types.end(), more.begin(), more.end());
    return types;
  }();
  return all;
}

const event_type* find_gate(std::string_view name) noexcept { return find(name, true); }
const event_type* find_fact(std::string_view name) noexcept { return find(name, false); }

json event_schema(const event_type& type) {
  json properties = json::object();
  for (const auto& field : type.fields) {
    properties[std::string(field.name)] = {{"type", std::string(field.type)},
                                           {"description", std::string(field.summary)}};
  }
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", std::string(type.name)},
          {"description", std::string(type.summary)},
          {"type", "object"},
          {"properties", std::move(properties)}};
}

result<void> check_event_data(const event_type& type, const json& data) {
  if (!data.is_object()) {
    return fail(errc::invalid_argument, "invalid_event",
                "the data of a " + std::string(type.name) + " event is no object",
                "see the event catalogue in policies/README.md");
  }
  for (const auto& field : type.fields) {
    const auto found = data.find(field.name);
    if (found == data.end() || fits(*found, field.type)) continue;
    return fail(errc::invalid_argument, "invalid_event",
                "'" + std::string(field.name) + "' of a " + std::string(type.name) + " event is a " +
                    found->type_name() + "; expected " + std::string(field.type),
                "see the event catalogue in policies/README.md", "/" + std::string(field.name));
  }
  return {};
}

std::string catalogue_markdown() {
  std::string out = "Event schema number: " + std::to_string(event_schema_number) + "\n\n## Gates\n\n";
  for (const auto& type : event_types()) {
    if (type.gate) append_table(out, type);
  }
  out += "## Facts\n\n";
  for (const auto& type : event_types()) {
    if (!type.gate) append_table(out, type);
  }
  return out;
}

}  // namespace caged::policy
