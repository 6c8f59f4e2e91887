// What a sandbox is asked to be: the sum of flags, .caged.yaml and defaults, and the body of POST /v1/sandboxes.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace caged::config {

// Every field may be absent: then the next source decides, in the end the server.
struct sandbox_request {
  std::optional<std::string> name;
  std::optional<std::string> template_name;
  std::optional<double> cpus;
  std::optional<std::int64_t> memory_mb;
  std::optional<std::int64_t> disk_gb;
  std::optional<std::string> network_mode;            // full, allowlist, none
  std::optional<std::vector<std::string>> allowlist;
  std::optional<std::string> repo_url;                // URL or absolute path
  std::optional<std::string> repo_token;
  std::optional<std::string> repo_branch;
  std::optional<std::string> repo_commit;
  std::optional<std::string> repo_subdir;
  std::optional<std::string> init_script;
  std::optional<std::vector<std::string>> secrets;
  std::optional<std::vector<std::string>> packages;
  std::optional<std::vector<std::string>> agents;
  std::optional<json> policies;                       // a list of names, or of {name: arguments}
  std::optional<double> budget;                       // US dollars
  std::optional<std::chrono::seconds> timeout;        // idle time
  std::optional<std::string> backend;
  std::map<std::string, std::string> env;
  std::map<std::string, std::string> metadata;

  // Takes from `stronger` what it says: env and metadata merge per key, lists are replaced whole. A repository of
  // `stronger` replaces the whole repository (its token is never sent to another one's URL).
  void overlay(const sandbox_request& stronger);

  // A list of hosts without a mode means mode "allowlist"; refuses the combinations that cannot work.
  result<void> settle();

  // The body of POST /v1/sandboxes.
  json body() const;
};

// A variable's name: not empty, no '=', blank, tab, newline or NUL.
result<void> check_env_name(std::string_view name, std::string_view where);

// One of full, allowlist, none.
result<std::string> parse_network_mode(std::string_view text);

}  // namespace caged::config
