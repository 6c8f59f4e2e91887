#include "core/plugin/manifest.hpp"

#include <caged/event.hpp>
#include <caged/fingerprint.hpp>
#include <cstring>

namespace caged::plugins {
namespace {

constexpr kind_row kinds[] = {{"storage", "caged.storage.v1", 0},
                              {"billing", "caged.billing.v1", 1},
                              {"vmm", "caged.vmm.v1", 2},
                              {"tool", "caged.tool.v1", 3},
                              {"transport", "caged.transport.v1", 4}};

constexpr need_row needs_rows[] = {{CAGED_NEEDS_OPERATIONS, "operations", "caged.operations.v1"},
                                   {CAGED_NEEDS_HTTP_FRONT, "http_front", "caged.http_front.v1"},
                                   {CAGED_NEEDS_EVENT_SINK, "event_sink", "caged.event_sink.v1"},
                                   {CAGED_NEEDS_STORAGE, "storage", "caged.storage.v1"},
                                   {CAGED_NEEDS_VMM, "vmm", "caged.vmm.v1"},
                                   {CAGED_NEEDS_BILLING, "billing", "caged.billing.v1"}};

constexpr std::pair<std::uint64_t, std::string_view> offer_rows[] = {
    {CAGED_OFFERS_PAUSE, "pause"},          {CAGED_OFFERS_SNAPSHOT, "snapshot"}, {CAGED_OFFERS_FORK, "fork"},
    {CAGED_OFFERS_CHANGES, "changes"},      {CAGED_OFFERS_ADOPT, "adopt"},       {CAGED_OFFERS_ROUTES, "routes"},
    {CAGED_OFFERS_OPERATIONS, "operations"}};

error refuse(const char* reason, const std::string& origin, const std::string& what, std::string action) {
  return fail(errc::invalid_argument, reason, "plugin " + origin + ": " + what, std::move(action));
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// The fields every later check reads through; C++ may not be touched before these fit.
std::optional<error> check_door(const caged_plugin_descriptor& d, const std::string& origin) {
  if (d.magic != CAGED_PLUGIN_MAGIC)
    return refuse("plugin_magic", origin,
                  "the descriptor begins with " + hex(d.magic) + ", expected " + hex(CAGED_PLUGIN_MAGIC),
                  "Export the descriptor with the CAGED_PLUGIN macro.");
  if (d.abi != CAGED_PLUGIN_ABI)
    return refuse("plugin_abi", origin,
                  "the descriptor has layout " + std::to_string(d.abi) + ", this host reads layout " +
                      std::to_string(CAGED_PLUGIN_ABI),
                  d.abi > CAGED_PLUGIN_ABI ? "Use a newer host, or build the plugin with this host's SDK."
                                           : "Build the plugin with this host's SDK.");
  if (d.size < CAGED_PLUGIN_V1_SIZE)
    return refuse("plugin_size", origin,
                  "the descriptor has " + std::to_string(d.size) + " bytes, expected at least " +
                      std::to_string(CAGED_PLUGIN_V1_SIZE),
                  "Build the plugin with this host's SDK.");
  const std::pair<const void*, const char*> required[] = {
      {d.fingerprint, "fingerprint"},
      {d.kind, "kind"},
      {d.name, "name"},
      {d.version, "version"},
      {d.summary, "summary"},
      {d.config_schema, "config_schema"},
      {reinterpret_cast<const void*>(d.create), "create"},
      {reinterpret_cast<const void*>(d.destroy), "destroy"},
      {reinterpret_cast<const void*>(d.find_interface), "find_interface"}};
  for (const auto& [pointer, field] : required)
    if (pointer == nullptr)
      return refuse("plugin_field_missing", origin, std::string("the descriptor's field ") + field + " is null",
                    "Export the descriptor with the CAGED_PLUGIN macro.");
  return std::nullopt;
}

std::optional<error> check_fingerprint(const caged_plugin_descriptor& d, const std::string& origin) {
  const auto differing = compare_fingerprints(d.fingerprint, sdk_fingerprint());
  if (differing.empty()) return std::nullopt;
  std::string what, action;
  for (const auto& one : differing) {
    what += (what.empty() ? "" : "; ") + one.message;
    action += (action.empty() ? "" : " ") + one.action;
  }
  return refuse("plugin_fingerprint", origin, what, action);
}

bool good_name(std::string_view name) {
  if (name.empty() || name.size() > 32 || name[0] < 'a' || name[0] > 'z') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::optional<error> check_identity(const caged_plugin_descriptor& d, const std::string& origin) {
  if (find_kind(d.kind) == nullptr) {
    std::string known;
    for (const kind_row& k : kinds) known += (known.empty() ? "" : ", ") + std::string(k.name);
    return refuse("plugin_kind", origin, "the kind is \"" + std::string(d.kind) + "\", expected one of " + known,
                  "Derive the plugin class from an interface of this host's SDK.");
  }
  if (!good_name(d.name))
    return refuse("plugin_name", origin,
                  "the name is \"" + std::string(d.name) +
                      "\", expected 1 to 32 lower-case letters, digits and dashes, beginning with a letter",
                  "Correct NAME in caged_add_plugin().");
  if (d.event_schema == 0 || d.event_schema > event_schema_number)
    return refuse("plugin_event_schema", origin,
                  "it was built against event catalogue " + std::to_string(d.event_schema) + ", this host has " +
                      std::to_string(event_schema_number),
                  "Use a newer host, or build the plugin with this host's SDK.");
  std::uint64_t known = 0;
  for (const need_row& row : needs_rows) known |= row.bit;
  if ((d.needs & ~known) != 0)
    return refuse("plugin_needs_unknown", origin,
                  "it needs services this host does not know (bits " + hex(d.needs & ~known) + ")",
                  "Use a newer host.");
  return std::nullopt;
}

result<std::pair<json, json_schema>> read_schema(const caged_plugin_descriptor& d, const std::string& origin) {
  const std::string action = "Correct the file given as SCHEMA to caged_add_plugin().";
  auto text = parse_json(d.config_schema);
  if (text.has_error())
    return refuse("plugin_config_schema", origin, "the configuration schema is malformed: " + text.error().message,
                  action);
  auto compiled = json_schema::compile(*text);
  if (compiled.has_error()) {
    error e = refuse("plugin_config_schema", origin, "the configuration schema is refused: " + compiled.error().message,
                     action);
    e.path = compiled.error().path;
    return e;
  }
  if (!text->is_object() || text->value("type", json()) != "object")
    return refuse("plugin_config_schema", origin, "the configuration schema does not say \"type\": \"object\"", action);
  return std::pair(std::move(*text), std::move(*compiled));
}

}  // namespace

const kind_row* find_kind(std::string_view name) noexcept {
  for (const kind_row& k : kinds)
    if (k.name == name) return &k;
  return nullptr;
}

std::vector<need_row> needed_services(std::uint64_t needs) {
  std::vector<need_row> out;
  for (const need_row& row : needs_rows)
    if ((needs & row.bit) != 0) out.push_back(row);
  return out;
}

result<manifest> read_manifest(const caged_plugin_descriptor& d, const std::string& origin) {
  for (const auto check : {check_door, check_fingerprint, check_identity})
    if (auto wrong = check(d, origin)) return std::move(*wrong);
  auto schema = read_schema(d, origin);
  if (schema.has_error()) return schema.error();
  plugin_status s;
  s.kind = d.kind;
  s.name = d.name;
  s.version = d.version;
  s.summary = d.summary;
  s.fingerprint = d.fingerprint;
  s.event_schema = d.event_schema;
  for (const auto& [bit, name] : offer_rows)
    if ((d.offers & bit) != 0) s.offers.emplace_back(name);
  for (const need_row& row : needed_services(d.needs)) s.needs.emplace_back(row.name);
  s.config_schema = std::move(schema->first);
  return manifest{&d, find_kind(d.kind), std::move(s), std::move(schema->second)};
}

}  // namespace caged::plugins
