// Flags into requests: what the words of the command line mean. No server, no terminal.
#pragma once

#include <CLI/CLI.hpp>
#include <caged/json.hpp>
#include <core/config/environment.hpp>
#include <core/config/sandbox_request.hpp>
#include <optional>
#include <string>
#include <vector>

namespace caged::cli {

// The command line cut at the first "--": what follows belongs to the command in the sandbox, word for word.
struct split_arguments {
  std::vector<std::string> own;
  std::vector<std::string> tail;
  enum class mark : std::uint8_t { unset = 0, absent, present } dashes = mark::absent;
};
split_arguments split_at_dashes(int argc, const char* const* argv);

// The flags of `up`, `run` and `sandboxes create`.
struct resource_flags {
  std::string name, template_name, cpus, memory, disk, network, repo, repo_token, repo_branch, repo_commit, repo_subdir;
  std::string budget, timeout, backend, init_script;
  std::vector<std::string> allowlist, env, packages, agents, secrets, policies;
};

// Declares them on a command. `flags` outlives it.
void add_resource_flags(CLI::App& command, resource_flags& flags);

// Adds a list flag that may be repeated. `separator` '\0': a value is never split (--env A=1,2 is one variable).
CLI::Option* add_list_flag(CLI::App& command, std::string names, std::vector<std::string>& slot, std::string help,
                           char separator);

// What the flags ask for. Errors name the flag. `env` is for `--env NAME`, which takes the caller's value.
result<config::sandbox_request> to_request(const resource_flags& flags, const config::environment& env);

// "NAME=value" (the value may hold '=' and ','), or "NAME" for the caller's own value.
result<std::pair<std::string, std::string>> parse_env_flag(std::string_view text, const config::environment& env);

// A repository as the server should see it: a folder on this machine becomes an absolute path.
std::string resolve_repo(const std::string& text);

// The command of `run` and `exec`: one word is shell text, several are run as they are.
json command_input(const std::vector<std::string>& words);

// "ID:PATH" or a local path. A colon after a slash, or a path that begins with '.' or '/', is local.
struct copy_place {
  std::string sandbox;  // "" = local
  std::string path;
};
copy_place parse_copy_place(std::string_view text);

// The command word or words left by CLI11 for a prefix command, with the tail after "--".
std::vector<std::string> join_command(std::vector<std::string> remaining, const split_arguments& split);

}  // namespace caged::cli
