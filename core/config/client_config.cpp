#include <core/config/client_config.hpp>

#include <core/config/node_reader.hpp>

#include <sys/stat.h>

namespace caged::config {
namespace {

namespace fs = std::filesystem;

template <class T>
result<void> put(std::optional<T>& slot, result<T> value) {
  if (!value) return value.error();
  slot = std::move(*value);
  return {};
}

result<void> put_text(std::string& slot, result<std::string> value) {
  if (!value) return value.error();
  slot = std::move(*value);
  return {};
}

result<void> put_network(std::optional<std::string>& slot, const node_reader& at) {
  auto text = at.text();
  if (!text) return text.error();
  auto mode = parse_network_mode(*text);
  if (!mode) return at.located(mode.error());
  slot = std::move(*mode);
  return {};
}

using key_reader = result<void> (*)(client_config&, const node_reader&);
const std::pair<const char*, key_reader> keys[] = {
    {"api_url", [](client_config& c, const node_reader& n) { return put_text(c.api_url, n.text()); }},
    {"api_key", [](client_config& c, const node_reader& n) { return put_text(c.api_key, n.text()); }},
    {"default_template",
     [](client_config& c, const node_reader& n) { return put(c.defaults.template_name, n.text()); }},
    {"default_cpus", [](client_config& c, const node_reader& n) { return put(c.defaults.cpus, n.number()); }},
    {"default_memory",
     [](client_config& c, const node_reader& n) { return put(c.defaults.memory_mb, n.size(size_unit::mebibytes)); }},
    {"default_disk",
     [](client_config& c, const node_reader& n) { return put(c.defaults.disk_gb, n.size(size_unit::gibibytes)); }},
    {"default_network", [](client_config& c, const node_reader& n) { return put_network(c.defaults.network_mode, n); }},
    {"default_backend", [](client_config& c, const node_reader& n) { return put(c.defaults.backend, n.text()); }},
    {"default_timeout", [](client_config& c, const node_reader& n) { return put(c.defaults.timeout, n.duration()); }},
    {"default_budget", [](client_config& c, const node_reader& n) { return put(c.defaults.budget, n.number()); }},
};

// Nothing when there is no such file.
result<std::optional<client_config>> load_one(const fs::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<client_config>{};
    return errno_error(errno, "read " + file.string(), "Check its permissions.");
  }
  auto text = read_config_file(file);
  if (!text) return text.error();
  auto parsed = parse_client_config(*text, file.string());
  if (!parsed) return parsed.error();
  if (!parsed->api_key.empty() && (info.st_mode & 077) != 0) {
    return fail(errc::permission_denied, "key_file_readable",
                file.string() + " holds an api_key and may be read by others",
                "Run 'chmod 600 " + file.string() + "'.");
  }
  if (!parsed->api_key.empty() || !parsed->api_url.empty()) parsed->source = file;
  return std::optional<client_config>(std::move(*parsed));
}

error named(const error& e, std::string_view variable) {
  error out = e;
  out.message = std::string(variable) + ": " + e.message;
  return out;
}

template <class T, class Parse>
result<void> from_variable(const environment& env, const char* name, std::optional<T>& slot, Parse parse) {
  const auto text = env(name);
  if (!text || text->empty()) return {};
  auto value = parse(*text);
  if (!value) return named(value.error(), name);
  slot = std::move(*value);
  return {};
}

}  // namespace

fs::path client_config_dir(const environment& env) {
  if (const auto xdg = env("XDG_CONFIG_HOME"); xdg && !xdg->empty() && xdg->front() == '/')
    return fs::path(*xdg) / "caged";
  const auto home = env("HOME");
  return fs::path(home && !home->empty() ? *home : "/") / ".config/caged";
}

result<client_config> parse_client_config(std::string_view text, std::string_view name) {
  auto root = parse_yaml(text, name);
  if (!root) return root.error();
  client_config out;
  const node_reader top(*root, name, "");
  if (top.is_null()) return out;
  if (auto ok = top.mapping(); !ok) return ok.error();
  for (const auto& member : root->members) {
    const auto row =
        std::find_if(std::begin(keys), std::end(keys), [&](const auto& k) { return member.name == k.first; });
    if (row == std::end(keys)) {
      std::vector<std::string> known;
      for (const auto& k : keys) known.emplace_back(k.first);
      return top.unknown_key(member, known);
    }
    const node_reader value(member.value, name, member.name);
    if (value.is_null()) continue;
    if (auto ok = row->second(out, value); !ok) return ok.error();
  }
  return out;
}

result<client_config> load_client_config(const fs::path& folder) {
  client_config out;
  for (const char* name : {"config.json", "config.yaml"}) {
    auto one = load_one(folder / name);
    if (!one) return one.error();
    if (!*one) continue;
    client_config& c = **one;
    // A URL from one file never takes the key of another server from the other file.
    if (!c.api_url.empty() && c.api_url != out.api_url) {
      out.api_url = c.api_url;
      out.api_key = c.api_key;
    } else if (!c.api_key.empty()) {
      out.api_key = c.api_key;
    }
    out.defaults.overlay(c.defaults);
    if (!c.source.empty()) out.source = c.source;
  }
  return out;
}

result<sandbox_request> environment_defaults(const environment& env) {
  sandbox_request out;
  const auto as_text = [](const std::string& t) { return result<std::string>(t); };
  const auto megabytes = [](const std::string& t) { return parse_size(t, size_unit::mebibytes); };
  const auto gigabytes = [](const std::string& t) { return parse_size(t, size_unit::gibibytes); };
  if (auto ok = from_variable(env, "CAGED_TEMPLATE", out.template_name, as_text); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_BACKEND", out.backend, as_text); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_CPUS", out.cpus, parse_number); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_MEMORY", out.memory_mb, megabytes); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_DISK", out.disk_gb, gigabytes); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_NETWORK", out.network_mode, parse_network_mode); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_TIMEOUT", out.timeout, parse_duration); !ok) return ok.error();
  if (auto ok = from_variable(env, "CAGED_BUDGET", out.budget, parse_number); !ok) return ok.error();
  return out;
}

}  // namespace caged::config
