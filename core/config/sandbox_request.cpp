#include <core/config/sandbox_request.hpp>

namespace caged::config {
namespace {

template <class T>
void take(std::optional<T>& weaker, const std::optional<T>& stronger) {
  if (stronger) weaker = stronger;
}

template <class T>
void put(json& out, const char* name, const std::optional<T>& value) {
  if (value) out[name] = *value;
}

// A whole number travels as one: "cpus": 2, not 2.0.
void put_number(json& out, const char* name, const std::optional<double>& value) {
  if (!value) return;
  const auto whole = static_cast<std::int64_t>(*value);
  if (static_cast<double>(whole) == *value) {
    out[name] = whole;
  } else {
    out[name] = *value;
  }
}

}  // namespace

void sandbox_request::overlay(const sandbox_request& s) {
  if (s.repo_url) {
    repo_token = s.repo_token;
    repo_branch = s.repo_branch;
    repo_commit = s.repo_commit;
    repo_subdir = s.repo_subdir;
  }
  take(name, s.name);
  take(template_name, s.template_name);
  take(cpus, s.cpus);
  take(memory_mb, s.memory_mb);
  take(disk_gb, s.disk_gb);
  // A mode that takes no hosts drops the hosts a weaker source had listed: `--network none` over an allowlist file.
  if (s.network_mode && *s.network_mode != "allowlist" && !s.allowlist) allowlist.reset();
  // Hosts alone mean allowlist mode, whatever mode a weaker source had.
  if (s.allowlist && !s.network_mode) network_mode.reset();
  take(network_mode, s.network_mode);
  take(allowlist, s.allowlist);
  take(repo_url, s.repo_url);
  take(repo_token, s.repo_token);
  take(repo_branch, s.repo_branch);
  take(repo_commit, s.repo_commit);
  take(repo_subdir, s.repo_subdir);
  take(init_script, s.init_script);
  take(secrets, s.secrets);
  take(packages, s.packages);
  take(agents, s.agents);
  take(policies, s.policies);
  take(budget, s.budget);
  take(timeout, s.timeout);
  take(backend, s.backend);
  for (const auto& [key, value] : s.env) env[key] = value;
  for (const auto& [key, value] : s.metadata) metadata[key] = value;
}

result<void> sandbox_request::settle() {
  if (allowlist && !allowlist->empty() && !network_mode) network_mode = "allowlist";
  const bool lists = network_mode && *network_mode == "allowlist";
  if (lists && (!allowlist || allowlist->empty())) {
    return fail(errc::invalid_argument, "allowlist_missing",
                "network mode 'allowlist' is asked for, but no host is listed",
                "List hosts ('--allowlist example.org' or 'allowed_hosts:'), or use mode full or none.", "/allowlist");
  }
  if (!lists && network_mode && allowlist && !allowlist->empty()) {
    return fail(errc::invalid_argument, "allowlist_unused",
                "hosts are listed, but the network mode is '" + *network_mode + "', which does not look at them",
                "Use mode 'allowlist', or list no hosts.", "/allowlist");
  }
  if (!repo_url && (repo_token || repo_branch || repo_commit || repo_subdir)) {
    return fail(errc::invalid_argument, "repo_missing",
                "a repository's token, branch, commit or subdirectory is given, but no repository",
                "Say which with '--repo URL' or 'repo: {url: …}'.", "/repo");
  }
  return {};
}

json sandbox_request::body() const {
  json out = json::object();
  put(out, "name", name);
  put(out, "template", template_name);
  put_number(out, "cpus", cpus);
  put(out, "memory_mb", memory_mb);
  put(out, "disk_gb", disk_gb);
  put(out, "network_mode", network_mode);
  put(out, "allowlist", allowlist);
  put(out, "repo", repo_url);
  put(out, "repo_token", repo_token);
  put(out, "repo_branch", repo_branch);
  put(out, "repo_commit", repo_commit);
  put(out, "repo_subdir", repo_subdir);
  put(out, "init_script", init_script);
  put(out, "secrets", secrets);
  put(out, "packages", packages);
  put(out, "agents", agents);
  put(out, "policies", policies);
  put_number(out, "budget", budget);
  if (timeout) out["timeout"] = timeout->count();
  put(out, "backend", backend);
  if (!env.empty()) out["env"] = env;
  if (!metadata.empty()) out["metadata"] = metadata;
  return out;
}

result<void> check_env_name(std::string_view name, std::string_view where) {
  using namespace std::string_view_literals;
  const std::size_t bad = name.find_first_of("= \t\n\r\0"sv);
  if (!name.empty() && bad == std::string_view::npos) return {};
  return fail(errc::invalid_argument, "invalid_env_name",
              std::string(where) + ": found the variable name '" + std::string(name.substr(0, 60)) +
                  "', expected a name without '=', blank, tab or newline",
              "Rename the variable.");
}

result<std::string> parse_network_mode(std::string_view text) {
  if (text == "full" || text == "allowlist" || text == "learn" || text == "none") return std::string(text);
  return fail(
      errc::invalid_argument, "invalid_network_mode",
      "found the network mode '" + std::string(text.substr(0, 60)) + "', expected full, allowlist, learn or none",
      "Use one of them.");
}

}  // namespace caged::config
