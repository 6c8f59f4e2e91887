#include <core/config/host_config.hpp>

namespace caged::config {
namespace {

// One text, so that people can read it as the document it is. Defaults stand in host_config, not here: a second copy
// would drift; `caged config show` prints what is in force.
constexpr std::string_view schema_text = R"json({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Caged host configuration",
  "type": "object",
  "additionalProperties": false,
  "$defs": {
    "texts": {"type": "array", "maxItems": 1000, "items": {"type": "string", "minLength": 1}},
    "policies": {
      "type": "array", "maxItems": 32,
      "items": {"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": ["object", "null"]}}
      ]}
    },
    "range": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "min": {"type": "number", "minimum": 0},
        "max": {"type": "number", "exclusiveMinimum": 0},
        "default": {"type": "number", "exclusiveMinimum": 0}
      }
    }
  },
  "properties": {
    "policies": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "folders": {"$ref": "#/$defs/texts", "description": "folders with policies of your own, absolute"},
        "use": {"$ref": "#/$defs/policies", "description": "asked in this order, for every sandbox"},
        "accounts": {"type": "object", "additionalProperties": {"$ref": "#/$defs/policies"},
                     "description": "further ones for sandboxes made with a key, by its name or id"},
        "approval_time": {"type": ["string", "integer"], "description": "how long `ask` waits for a human"}
      }
    },
    "listen": {"type": "string", "minLength": 1, "description": "ADDR:PORT; port 0 takes any free one"},
    "data": {"type": "string", "minLength": 1, "description": "data folder, an absolute path"},
    "log_level": {"enum": ["debug", "info", "warn", "error"]},
    "log_format": {"enum": ["text", "json"]},
    "plugin_dirs": {"$ref": "#/$defs/texts", "description": "folders to load plugins from"},
    "server_names": {"$ref": "#/$defs/texts", "description": "further host names this server answers to"},
    "allowed_origins": {"$ref": "#/$defs/texts", "description": "browser origins that may talk to this server"},
    "default_backend": {"type": "string"},
    "default_template": {"type": "string", "minLength": 1},
    "default_network_mode": {"enum": ["full", "allowlist", "learn", "none"]},
    "accept_missing": {"$ref": "#/$defs/texts", "description": "walls whose absence is accepted, see caged doctor"},
    "repo_roots": {"$ref": "#/$defs/texts", "description": "host folders that `repo` may name as a path"},
    "session_idle": {"type": ["string", "integer"], "description": "idle time that ends an agent's session, like 10m"},
    "drain_time": {"type": ["string", "integer"], "description": "seconds, or a time like 20s"},
    "budgets": {
      "type": "object", "additionalProperties": false,
      "description": "US dollars that may be spent on models and computing; 0 or absent: no cap",
      "properties": {
        "account": {"type": "number", "minimum": 0, "maximum": 1000000000, "description": "by all sandboxes together"},
        "session": {"type": "number", "minimum": 0, "maximum": 1000000000, "description": "by one session"},
        "at_limit": {"enum": ["destroy", "pause"], "description": "what happens to a sandbox at 100 %"},
        "final_snapshot": {"type": "boolean", "description": "take a snapshot before that"},
        "interval": {"type": ["string", "integer"], "description": "how often usage is written down and billed, like 60s"},
        "plan": {"enum": ["none", "free", "pro", "team", "enterprise"], "description": "limits of a plan; none otherwise"}
      }
    },
    "retention": {
      "type": "object", "additionalProperties": false,
      "description": "what is forgotten; absent: nothing",
      "properties": {
        "events_age": {"type": ["string", "integer"], "description": "events of ended sessions that are older, like 90d"},
        "events_most": {"type": "integer", "minimum": 0, "description": "beyond this number the oldest ended sessions' events"},
        "destroyed_age": {"type": ["string", "integer"], "description": "records of sandboxes destroyed longer ago, like 30d"},
        "recent": {"type": ["string", "integer"], "description": "destroyed sandboxes are in memory so long, then only stored"},
        "interval": {"type": ["string", "integer"], "description": "how often it is looked, like 60s"}
      }
    },
    "mail": {
      "type": "object", "additionalProperties": false, "required": ["server", "from"],
      "description": "the SMTP server that alerts are sent through",
      "properties": {
        "server": {"type": "string", "minLength": 3, "description": "NAME:PORT"},
        "from": {"type": "string", "pattern": "^[^\\s<>@]+@[^\\s<>@]+$"},
        "user": {"type": "string"},
        "password_file": {"type": "string", "description": "file that holds the password, readable by its owner only"},
        "tls": {"enum": ["none", "starttls", "tls"]}
      }
    },
    "snapshots": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "per_sandbox": {"type": "integer", "minimum": 0, "maximum": 10000, "description": "those asked for"},
        "account_gb": {"type": "number", "minimum": 0, "maximum": 1000000, "description": "of sandboxes made with one key"},
        "each_gb": {"type": "number", "minimum": 0, "maximum": 1000000},
        "on_idle": {"type": "boolean", "description": "take one when an idle sandbox is paused"}
      }
    },
    "wake_paused": {"type": "boolean", "description": "a request to a paused sandbox resumes it"},
    "limits": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "cpus": {"$ref": "#/$defs/range"},
        "memory_mb": {"$ref": "#/$defs/range"},
        "disk_gb": {"$ref": "#/$defs/range"},
        "timeout": {"$ref": "#/$defs/range"},
        "max_processes": {"type": "integer", "minimum": 8, "maximum": 4194304},
        "sandboxes": {"type": "integer", "minimum": 1, "maximum": 1000000},
        "connections": {"type": "integer", "minimum": 1, "maximum": 1000000}
      }
    },
    "network": {
      "type": "object", "additionalProperties": false,
      "properties": {
        "resolvers": {"$ref": "#/$defs/texts", "description": "name servers, ADDR or ADDR:PORT; /etc/resolv.conf otherwise"},
        "hosts": {
          "type": "object", "additionalProperties": {"$ref": "#/$defs/texts"},
          "description": "names with fixed addresses: NAME: [ADDR]"
        },
        "allow_inner": {"$ref": "#/$defs/texts", "description": "private or own addresses that sandboxes may reach: ADDR, BLOCK, with :PORT"},
        "proxy": {"type": "string", "description": "http://[user:password@]HOST:PORT that connections go out through; HTTPS_PROXY otherwise"},
        "no_proxy": {"$ref": "#/$defs/texts", "description": "names dialled directly; NO_PROXY otherwise"},
        "connections": {"type": "integer", "minimum": 16, "maximum": 1000000, "description": "of one sandbox at a time"}
      }
    },
    "plugins": {
      "type": "object",
      "description": "plugins.<kind>.<name>: its configuration, or false to leave it out",
      "additionalProperties": false,
      "properties": {
        "vmm": {"$ref": "#/$defs/plugins"}, "transport": {"$ref": "#/$defs/plugins"},
        "billing": {"$ref": "#/$defs/plugins"}, "storage": {"$ref": "#/$defs/plugins"},
        "tool": {"$ref": "#/$defs/plugins"}
      }
    }
  }
})json";

json make_schema() {
  json schema = json::parse(schema_text);
  schema["$defs"]["plugins"] = {
      {"type", "object"},
      {"propertyNames", {{"pattern", "^[a-z][a-z0-9_-]*$"}}},
      {"additionalProperties", {{"anyOf", json::array({json{{"type", "object"}}, json{{"const", false}}})}}}};
  return schema;
}

}  // namespace

const json& host_config_schema() {
  static const json schema = make_schema();
  return schema;
}

}  // namespace caged::config
