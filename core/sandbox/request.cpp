// Checks of a create request that a JSON Schema cannot make.
#include <caged/json_schema.hpp>
#include <cmath>

#include "core/config/sandbox_request.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

error refuse(std::string path, std::string reason, std::string message, std::string action) {
  return fail(errc::invalid_argument, std::move(reason), std::move(message), std::move(action), std::move(path));
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& w : words) text += (text.empty() ? "" : ", ") + w;
  return text.empty() ? "none" : text;
}

bool starts(std::string_view text, std::string_view with) { return text.substr(0, with.size()) == with; }

// A name that git takes for an option would be one.
result<void> check_git_word(const std::string& word, const char* path) {
  if (starts(word, "-") || word.find_first_of(" \t\r\n\\~^:?*[\x7f") != std::string::npos ||
      word.find("..") != std::string::npos)
    return refuse(path, "bad_git_name", "\"" + word + "\" is no name of a branch or commit",
                  "Use a plain name or a hash.");
  return {};
}

// Which forms a caller may use: others than https reach the host's own files, keys or network.
result<void> check_repository(const repository& repo, const caller& who) {
  const std::string& url = repo.url;
  if (url.empty()) {
    if (!repo.branch.empty() || !repo.commit.empty() || !repo.subdirectory.empty())
      return refuse("/repo", "repo_missing", "repo_branch, repo_commit or repo_subdir is given without repo",
                    "Say which repository: repo.");
    return {};
  }
  const bool https = starts(url, "https://");
  const bool other = starts(url, "http://") || starts(url, "ssh://") || starts(url, "git@") ||
                     starts(url, "file:///") || starts(url, "/");
  if (!https && !other)
    return refuse("/repo", "bad_repo", "repo \"" + url + "\" is neither a URL nor an absolute path",
                  "Use https://…, http://…, ssh://…, git@host:path or an absolute path on the server.");
  if (!https && who.granted != scope::full)
    return fail(errc::permission_denied, "scope_too_small",
                "repo \"" + url + "\" would be read with the host's own rights; the key's scope is " +
                    std::string(to_string(who.granted)),
                "Use an https URL, or a key of scope full.", "/repo");
  if (!repo.branch.empty())
    if (auto ok = check_git_word(repo.branch, "/repo_branch"); !ok) return ok.error();
  if (!repo.commit.empty())
    if (auto ok = check_git_word(repo.commit, "/repo_commit"); !ok) return ok.error();
  const std::string& sub = repo.subdirectory;
  const std::string framed = "/" + sub + "/";
  if (!sub.empty() && (starts(sub, "/") || starts(sub, "-") || framed.find("/../") != std::string::npos))
    return refuse("/repo_subdir", "bad_subdir", "repo_subdir \"" + sub + "\" leads out of the repository",
                  "Name a folder inside it.");
  return {};
}

result<std::string> choose(const char* path, const char* what, const std::string& asked, const std::string& fallback,
                           const std::vector<std::string>& known) {
  if (asked.empty() && !fallback.empty()) return fallback;
  if (asked.empty() && !known.empty()) return known.front();
  for (const auto& k : known)
    if (k == asked) return asked;
  std::string near = nearest(asked, known);
  return refuse(path, std::string("unknown_") + what,
                std::string("the ") + what + " \"" + asked + "\" is not known here",
                (near.empty() ? "" : "Did you mean \"" + near + "\"? ") + "Known: " + joined(known) + ".");
}

bool holds(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// The first backend that has the template; "" where none has it or none was asked for.
std::string keeper_of(const std::string& wanted, const std::vector<std::string>& backends, const image_table& images) {
  for (const auto& name : backends)
    if (!wanted.empty() && holds(images.at(name), wanted)) return name;
  return {};
}

result<std::string> choose_template(const std::string& asked, const std::string& usual,
                                    const std::vector<std::string>& known) {
  // A backend without a list cannot be asked just now; making the box tells why.
  if (known.empty()) return asked.empty() ? usual : asked;
  return choose("/template", "template", asked, holds(known, usual) ? usual : "", known);
}

double amount(const json& a, const char* key, const config::amount_range& range) {
  const double value = a.value(key, 0.0);
  return value == 0 ? range.fallback : value;
}

}  // namespace

result<create_request> parse_create(const json& a, const caller& who, const config::host_config& host,
                                    const std::vector<std::string>& backends, const image_table& images) {
  create_request request;
  record& r = request.wanted;
  r.name = a.value("name", "");
  r.owner_key = who.key_id;
  request.granted = who.granted;
  const std::string wanted = a.value("template", "");
  std::string asked = a.value("backend", "");
  if (asked == "auto") asked.clear();
  if (asked.empty()) asked = host.default_backend.empty() ? keeper_of(wanted, backends, images) : host.default_backend;
  auto backend = choose("/backend", "backend", asked, "", backends);
  if (!backend) return backend.error();
  r.backend = *backend;
  auto image = choose_template(wanted, host.default_template, images.at(r.backend));
  if (!image) return image.error();
  r.template_name = *image;
  r.cpus = amount(a, "cpus", host.limits.cpus);
  r.memory_mb = std::llround(amount(a, "memory_mb", host.limits.memory_mb));
  r.disk_gb = std::llround(amount(a, "disk_gb", host.limits.disk_gb));
  // An idle time above the limit is clamped, as the reference documents; the answer shows what stands.
  r.timeout_s = std::llround(std::min(amount(a, "timeout", host.limits.timeout), host.limits.timeout.max));
  r.budget_micro = std::llround(a.value("budget", 0.0) * 1e6);
  r.on_budget = a.value("on_budget", "");
  r.init_script = a.value("init_script", "");
  r.packages = a.value("packages", std::vector<std::string>());
  r.agents = a.value("agents", std::vector<std::string>());
  r.env = a.value("env", std::map<std::string, std::string>());
  r.metadata = a.value("metadata", std::map<std::string, std::string>());
  for (const auto& [key, value] : r.env)
    if (auto ok = config::check_env_name(key, "/env/" + key); !ok) return ok.error();
  r.repo = {a.value("repo", ""), a.value("repo_branch", ""), a.value("repo_commit", ""), a.value("repo_subdir", "")};
  request.repo_token = a.value("repo_token", "");
  if (auto ok = check_repository(r.repo, who); !ok) return ok.error();

  // `allowed_hosts` is what .caged.yaml calls it.
  r.allowlist = a.value("allowlist", a.value("allowed_hosts", std::vector<std::string>()));
  r.network_mode = a.value("network_mode", "");
  if (r.network_mode.empty()) r.network_mode = r.allowlist.empty() ? host.default_network_mode : "allowlist";
  r.network_rate = a.value("network_rate", std::int64_t{0});
  r.network_bytes = a.value("network_bytes", std::int64_t{0});
  if (auto ok = network_rules(r); !ok) return ok.error();
  r.secrets = a.value("secrets", std::vector<std::string>());
  r.policies = a.value("policies", json::array());
  for (const char* key : {"persona_id", "harness_id"})
    if (!a.value(key, "").empty())
      return fail(errc::unsupported, "persona_unsupported",
                  std::string(key) + " was given; a self-hosted server has none", "Leave it out.",
                  std::string("/") + key);
  return request;
}

}  // namespace caged::sandbox
