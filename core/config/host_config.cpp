#include <core/config/host_config.hpp>

#include <caged/json_schema.hpp>
#include <core/config/units.hpp>
#include <core/config/yaml.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

namespace caged::config {
namespace {

namespace fs = std::filesystem;

// The document, with the line of every place in it.
struct document {
  json root;
  std::map<std::string, int> lines;
  std::string name;

  // "file:12: /limits/cpus": the nearest place with a line, going outwards.
  std::string place(std::string path) const {
    const std::string whole = path;
    for (;;) {
      const auto it = lines.find(path);
      if (it != lines.end()) return name + ":" + std::to_string(it->second) + ": " + (whole.empty() ? "/" : whole);
      if (path.empty()) return name + ": " + whole;
      path.erase(path.rfind('/'));
    }
  }

  error wrong(const std::string& path, const std::string& message, std::string action) const {
    return fail(errc::invalid_argument, "invalid_config", place(path) + ": " + message, std::move(action), path);
  }
};

void take_text(const json& root, const char* key, std::string& slot) {
  if (root.contains(key)) slot = root[key].get<std::string>();
}

void take_texts(const json& root, const char* key, std::vector<std::string>& slot) {
  if (root.contains(key)) slot = root[key].get<std::vector<std::string>>();
}

result<void> take_paths(const document& doc, const char* key, std::vector<fs::path>& slot) {
  if (!doc.root.contains(key)) return {};
  slot.clear();
  for (std::size_t i = 0; i < doc.root[key].size(); ++i) {
    fs::path path = doc.root[key][i].get<std::string>();
    if (!path.is_absolute()) {
      return doc.wrong("/" + std::string(key) + "/" + std::to_string(i),
                       "found the path '" + path.string() + "', expected an absolute one", "Begin it with '/'.");
    }
    slot.push_back(path.lexically_normal());
  }
  return {};
}

// ADDR:PORT with a numeric or named address; the port 0..65535.
bool is_listen_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.front() == '[' && host.back() == ']' && host.size() > 2;
  if (!bracketed && host.find(':') != std::string_view::npos) return false;
  unsigned value = 0;
  const auto [stop, bad] = std::from_chars(port.data(), port.data() + port.size(), value);
  return bad == std::errc{} && stop == port.data() + port.size() && value <= 65535;
}

result<void> take_range(const document& doc, const char* name, amount_range& slot) {
  const std::string path = "/limits/" + std::string(name);
  const json& limits = doc.root["limits"];
  if (!limits.contains(name)) return {};
  const json& given = limits[name];
  slot.min = given.value("min", slot.min);
  slot.max = given.value("max", slot.max);
  if (given.contains("default")) {
    slot.fallback = given["default"].get<double>();
  } else {
    slot.fallback = std::clamp(slot.fallback, std::min(slot.min, slot.max), slot.max);
  }
  if (slot.min > slot.max) {
    return doc.wrong(path, "min is greater than max", "Lower min or raise max.");
  }
  if (slot.fallback < slot.min || slot.fallback > slot.max) {
    return doc.wrong(path, "default does not lie between min and max", "Choose a default inside the range.");
  }
  return {};
}

result<void> take_limits(const document& doc, host_config& out) {
  if (!doc.root.contains("limits")) return {};
  auto& l = out.limits;
  if (auto ok = take_range(doc, "cpus", l.cpus); !ok) return ok.error();
  if (auto ok = take_range(doc, "memory_mb", l.memory_mb); !ok) return ok.error();
  if (auto ok = take_range(doc, "disk_gb", l.disk_gb); !ok) return ok.error();
  if (auto ok = take_range(doc, "timeout", l.timeout); !ok) return ok.error();
  const json& given = doc.root["limits"];
  l.max_processes = given.value("max_processes", l.max_processes);
  l.sandboxes = given.value("sandboxes", l.sandboxes);
  l.connections = given.value("connections", l.connections);
  return {};
}

void take_snapshots(const json& root, host_config& out) {
  out.wake_paused = root.value("wake_paused", out.wake_paused);
  if (!root.contains("snapshots")) return;
  const json& given = root["snapshots"];
  auto& s = out.snapshots;
  const auto bytes = [&given](const char* key, std::uint64_t otherwise) {
    return given.contains(key) ? static_cast<std::uint64_t>(given[key].get<double>() * (1ull << 30)) : otherwise;
  };
  s.per_sandbox = given.value("per_sandbox", s.per_sandbox);
  s.account_bytes = bytes("account_gb", s.account_bytes);
  s.each_bytes = bytes("each_gb", s.each_bytes);
  s.on_idle = given.value("on_idle", s.on_idle);
}

void take_plugins(const json& root, host_config& out) {
  if (!root.contains("plugins")) return;
  for (const auto& [kind, names] : root["plugins"].items()) {
    for (const auto& [name, settings] : names.items()) {
      if (settings.is_object()) {
        out.plugins[kind + "." + name] = settings;
      } else {
        out.disabled_plugins.push_back(kind + "." + name);
      }
    }
  }
}

result<void> take_time(const document& doc, const char* key, std::chrono::seconds& slot) {
  if (!doc.root.contains(key)) return {};
  const json& given = doc.root[key];
  const auto time = parse_duration(given.is_string() ? given.get<std::string>() : given.dump());
  if (!time) return doc.wrong("/" + std::string(key), time.error().message, time.error().action);
  slot = *time;
  return {};
}

result<void> take_time_of(const document& doc, const char* section, const char* key, std::chrono::seconds& slot) {
  if (!doc.root[section].contains(key)) return {};
  const json& given = doc.root[section][key];
  const auto time = parse_duration(given.is_string() ? given.get<std::string>() : given.dump());
  if (time) {
    slot = *time;
    return {};
  }
  return doc.wrong("/" + std::string(section) + "/" + key, time.error().message, time.error().action);
}

result<void> take_money(const document& doc, host_config& out) {
  if (!doc.root.contains("budgets")) return {};
  const json& given = doc.root["budgets"];
  const auto micro = [&given](const char* key) { return static_cast<std::int64_t>(given.value(key, 0.0) * 1e6 + 0.5); };
  auto& b = out.budgets;
  b.account_micro = micro("account");
  b.session_micro = micro("session");
  b.pauses = given.value("at_limit", "destroy") == "pause";
  b.final_snapshot = given.value("final_snapshot", b.final_snapshot);
  b.plan = given.value("plan", "");
  if (b.plan == "none") b.plan.clear();
  if (auto ok = take_time_of(doc, "budgets", "interval", b.interval); !ok) return ok.error();
  b.interval = std::max(b.interval, std::chrono::seconds(1));
  return {};
}

result<void> take_retention(const document& doc, host_config& out) {
  if (!doc.root.contains("retention")) return {};
  auto& r = out.retention;
  r.events_most = doc.root["retention"].value("events_most", r.events_most);
  if (auto ok = take_time_of(doc, "retention", "events_age", r.events_age); !ok) return ok.error();
  if (auto ok = take_time_of(doc, "retention", "destroyed_age", r.destroyed_age); !ok) return ok.error();
  if (auto ok = take_time_of(doc, "retention", "recent", r.recent); !ok) return ok.error();
  if (auto ok = take_time_of(doc, "retention", "interval", r.interval); !ok) return ok.error();
  r.interval = std::max(r.interval, std::chrono::seconds(1));
  return {};
}

result<void> take_mail(const document& doc, host_config& out) {
  if (!doc.root.contains("mail")) return {};
  const json& given = doc.root["mail"];
  auto& m = out.mail;
  take_text(given, "server", m.server);
  take_text(given, "from", m.from);
  take_text(given, "user", m.user);
  take_text(given, "password_file", m.password_file);
  take_text(given, "tls", m.tls);
  if (!is_listen_address(m.server))
    return doc.wrong("/mail/server", "found '" + m.server + "', expected NAME:PORT", "Write for example localhost:25.");
  return {};
}

result<void> take_policies(const document& doc, host_config& out) {
  if (!doc.root.contains("policies")) return {};
  const json& given = doc.root["policies"];
  auto& p = out.policies;
  for (const auto& folder : given.value("folders", std::vector<std::string>())) {
    if (!fs::path(folder).is_absolute())
      return doc.wrong("/policies/folders", "found the path '" + folder + "', expected an absolute one",
                       "Begin it with '/'.");
    p.folders.push_back(fs::path(folder).lexically_normal());
  }
  p.use = given.value("use", p.use);
  p.accounts = given.value("accounts", p.accounts);
  if (!given.contains("approval_time")) return {};
  const json& time = given["approval_time"];
  const auto seconds = parse_duration(time.is_string() ? time.get<std::string>() : time.dump());
  if (!seconds) return doc.wrong("/policies/approval_time", seconds.error().message, seconds.error().action);
  p.approval_time = *seconds;
  return {};
}

void take_network(const json& root, host_config& out) {
  const auto given = root.find("network");
  if (given == root.end()) return;
  auto& n = out.network;
  take_texts(*given, "resolvers", n.resolvers);
  take_texts(*given, "allow_inner", n.allow_inner);
  take_texts(*given, "no_proxy", n.no_proxy);
  take_text(*given, "proxy", n.proxy);
  n.connections = given->value("connections", n.connections);
  n.hosts = given->value("hosts", n.hosts);
}

result<void> check_schema(const document& doc) {
  auto schema = json_schema::compile(host_config_schema());
  if (!schema) return schema.error();
  const auto violations = schema->validate(doc.root);
  if (violations.empty()) return {};
  const auto& first = violations.front();
  std::string more;
  if (violations.size() > 1) more = " (and " + std::to_string(violations.size() - 1) + " more)";
  return doc.wrong(first.path, first.message + more, "See docs/configuration.md, or 'caged serve --help'.");
}

}  // namespace

result<host_config> parse_host_config(std::string_view text, std::string_view name) {
  auto tree = parse_yaml(text, name);
  if (!tree) return tree.error();
  document doc;
  doc.name = std::string(name);
  doc.root = to_json(*tree, &doc.lines);
  if (doc.root.is_null()) doc.root = json::object();
  if (auto ok = check_schema(doc); !ok) return ok.error();

  host_config out;
  take_text(doc.root, "listen", out.listen);
  if (auto ok = check_listen_address(out.listen); !ok) {
    return doc.wrong("/listen", ok.error().message, ok.error().action);
  }
  if (doc.root.contains("data")) {
    out.data = doc.root["data"].get<std::string>();
    if (!out.data.is_absolute()) {
      return doc.wrong("/data", "found the path '" + out.data.string() + "', expected an absolute one",
                       "Begin it with '/'.");
    }
    out.data = out.data.lexically_normal();
  }
  take_text(doc.root, "log_level", out.log_level);
  take_text(doc.root, "log_format", out.log_format);
  take_text(doc.root, "default_backend", out.default_backend);
  take_text(doc.root, "default_template", out.default_template);
  take_text(doc.root, "default_network_mode", out.default_network_mode);
  take_texts(doc.root, "server_names", out.server_names);
  take_texts(doc.root, "allowed_origins", out.allowed_origins);
  take_texts(doc.root, "accept_missing", out.accept_missing);
  if (auto ok = take_paths(doc, "plugin_dirs", out.plugin_dirs); !ok) return ok.error();
  if (auto ok = take_paths(doc, "repo_roots", out.repo_roots); !ok) return ok.error();
  if (auto ok = take_limits(doc, out); !ok) return ok.error();
  if (auto ok = take_time(doc, "drain_time", out.drain_time); !ok) return ok.error();
  if (auto ok = take_time(doc, "session_idle", out.session_idle); !ok) return ok.error();
  take_snapshots(doc.root, out);
  if (auto ok = take_money(doc, out); !ok) return ok.error();
  if (auto ok = take_retention(doc, out); !ok) return ok.error();
  if (auto ok = take_mail(doc, out); !ok) return ok.error();
  if (auto ok = take_policies(doc, out); !ok) return ok.error();
  take_network(doc.root, out);
  take_plugins(doc.root, out);
  return out;
}

result<void> check_listen_address(std::string_view text) {
  if (is_listen_address(text)) return {};
  return fail(errc::invalid_argument, "invalid_address",
              "found '" + std::string(text.substr(0, 100)) + "', expected ADDR:PORT with a port up to 65535",
              "Write for example 127.0.0.1:8080.");
}

result<host_config> load_host_config(const fs::path& file, const environment& env) {
  const fs::path standard = "/etc/caged/config.yaml";
  std::error_code ignored;
  const fs::path chosen = file.empty() ? standard : fs::absolute(file, ignored);
  struct stat info {};
  const bool exists = ::stat(chosen.c_str(), &info) == 0;
  host_config out;
  if (exists || !file.empty()) {
    // Who may write this file may run code as the server: plugin folders stand in it.
    if (exists && ((info.st_mode & 022) != 0 || (info.st_uid != 0 && info.st_uid != ::geteuid()))) {
      return fail(errc::permission_denied, "config_writable",
                  chosen.string() + " may be written by others than its owner, or belongs to another user",
                  "Run 'chown root " + chosen.string() + " && chmod go-w " + chosen.string() + "'.");
    }
    auto text = read_config_file(chosen);
    if (!text) return text.error();
    auto parsed = parse_host_config(*text, chosen.string());
    if (!parsed) return parsed.error();
    out = std::move(*parsed);
    out.source = chosen;
  }
  if (out.data.empty()) out.data = default_data_dir(env);
  return out;
}

fs::path default_data_dir(const environment& env) {
  std::error_code ignored;
  if (const auto given = env("CAGED_DATA"); given && !given->empty()) return fs::absolute(*given, ignored);
  if (::geteuid() == 0) return "/var/lib/caged";
  // The XDG specification: relative values are to be ignored.
  if (const auto xdg = env("XDG_DATA_HOME"); xdg && !xdg->empty() && xdg->front() == '/')
    return fs::path(*xdg) / "caged";
  const auto home = env("HOME");
  return fs::path(home && !home->empty() ? *home : "/") / ".local/share/caged";
}

}  // namespace caged::config
