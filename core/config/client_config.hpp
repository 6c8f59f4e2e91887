// What a person keeps about servers and sandboxes in ~/.config/caged, and the CAGED_* variables.
#pragma once

#include <core/config/environment.hpp>
#include <core/config/sandbox_request.hpp>
#include <filesystem>
#include <string>

namespace caged::config {

struct client_config {
  std::string api_url;
  std::string api_key;
  sandbox_request defaults;       // of default_template, default_cpus …
  std::filesystem::path source;   // the file that named api_url or api_key, for messages
};

// $XDG_CONFIG_HOME/caged or ~/.config/caged.
std::filesystem::path client_config_dir(const environment& env);

// `name` is what errors call the file. YAML; JSON is YAML too.
result<client_config> parse_client_config(std::string_view text, std::string_view name);

// Reads config.json, then config.yaml over it; files that do not exist are fine. A file that holds a key and that
// others can read is refused.
result<client_config> load_client_config(const std::filesystem::path& folder);

// CAGED_TEMPLATE, CAGED_CPUS, CAGED_MEMORY, CAGED_DISK, CAGED_NETWORK, CAGED_BACKEND, CAGED_TIMEOUT, CAGED_BUDGET.
result<sandbox_request> environment_defaults(const environment& env);

}  // namespace caged::config
