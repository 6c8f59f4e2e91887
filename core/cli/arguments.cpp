#include <core/cli/arguments.hpp>

#include <core/cli/operation_help.hpp>
#include <core/config/units.hpp>

#include <filesystem>

namespace caged::cli {
namespace {

error named(const error& e, std::string_view flag) {
  error out = e;
  out.message = std::string(flag) + ": " + e.message;
  return out;
}

// Parses a flag that was given; an empty one is absent.
template <class T, class Parse>
result<void> take(const std::string& text, const char* flag, std::optional<T>& slot, Parse parse) {
  if (text.empty()) return {};
  auto value = parse(text);
  if (!value) return named(value.error(), flag);
  slot = std::move(*value);
  return {};
}

void take_text(const std::string& text, std::optional<std::string>& slot) {
  if (!text.empty()) slot = text;
}

void take_list(const std::vector<std::string>& given, std::optional<std::vector<std::string>>& slot) {
  std::vector<std::string> words;
  for (const auto& word : given) {
    if (!word.empty()) words.push_back(word);
  }
  if (!given.empty()) slot = std::move(words);
}

}  // namespace

split_arguments split_at_dashes(int argc, const char* const* argv) {
  split_arguments out;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (out.dashes == split_arguments::mark::present) {
      out.tail.push_back(word);
    } else if (word == "--") {
      out.dashes = split_arguments::mark::present;
    } else {
      out.own.push_back(word);
    }
  }
  return out;
}

CLI::Option* add_list_flag(CLI::App& command, std::string names, std::vector<std::string>& slot, std::string help,
                           char separator) {
  auto* option = command.add_option(std::move(names), slot, std::move(help));
  // One value per flag: else `--env A=1 ID` would swallow the ID.
  option->type_size(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (separator != '\0') option->delimiter(separator);
  return option;
}

void add_resource_flags(CLI::App& c, resource_flags& f) {
  const char* group = "Sandbox";
  c.add_option("--name", f.name, about("sandbox.create", "name"))->group(group);
  c.add_option("--template", f.template_name, "What the sandbox is made from, see 'caged templates'")->group(group);
  c.add_option("--cpus", f.cpus, about("sandbox.create", "cpus") + " 2, or 0.5")->group(group);
  c.add_option("--memory", f.memory, about("sandbox.create", "memory_mb") + " Or 512M, 2G.")->group(group);
  c.add_option("--disk", f.disk, about("sandbox.create", "disk_gb") + " Or 10G.")->group(group);
  c.add_option("--network", f.network, about("sandbox.create", "network_mode") + " full, allowlist, learn or none")
      ->group(group);
  add_list_flag(c, "--allowlist,--allow", f.allowlist,
                "Hosts it may reach (a.com,*.b.com); implies --network allowlist", ',')
      ->group(group);
  c.add_option("--repo", f.repo, "Repository to clone into /workspace: URL or local path")->group(group);
  c.add_option("--repo-token", f.repo_token, about("sandbox.create", "repo_token"))->group(group);
  c.add_option("--repo-branch", f.repo_branch, about("sandbox.create", "repo_branch"))->group(group);
  c.add_option("--repo-commit", f.repo_commit, about("sandbox.create", "repo_commit"))->group(group);
  c.add_option("--repo-subdir", f.repo_subdir, about("sandbox.create", "repo_subdir"))->group(group);
  c.add_option("--init-script", f.init_script, about("sandbox.create", "init_script"))->group(group);
  c.add_option("--budget", f.budget, about("sandbox.create", "budget"))->group(group);
  c.add_option("--timeout", f.timeout, "Idle time until it is paused: seconds, or 15m")->group(group);
  add_list_flag(c, "-e,--env", f.env, "NAME=VALUE, or NAME for your own value; repeatable, never split at commas", '\0')
      ->group(group);
  add_list_flag(c, "--packages", f.packages, "Packages to install (a,b)", ',')->group(group);
  add_list_flag(c, "--agents", f.agents, "Agents to install (a,b)", ',')->group(group);
  add_list_flag(c, "--secrets", f.secrets, "Secrets of the server's store to put into the environment (a,b)", ',')
      ->group(group);
  add_list_flag(c, "--policies", f.policies, "Policies to hold it to (a,b)", ',')->group(group);
  c.add_option("--backend", f.backend, "What isolates it, see 'caged doctor'")->group(group);
}

result<std::pair<std::string, std::string>> parse_env_flag(std::string_view text, const config::environment& env) {
  const std::size_t equals = text.find('=');
  const std::string name(text.substr(0, equals));
  if (auto ok = config::check_env_name(name, "--env"); !ok) return ok.error();
  if (equals != std::string_view::npos) return std::pair(name, std::string(text.substr(equals + 1)));
  auto value = env(name);
  if (!value) {
    return fail(errc::invalid_argument, "unset_variable",
                "--env " + name + ": the variable is not set in your environment",
                "Set it, or write --env " + name + "=VALUE.");
  }
  return std::pair(name, std::move(*value));
}

std::string resolve_repo(const std::string& text) {
  namespace fs = std::filesystem;
  if (text.find("://") != std::string::npos) return text;
  std::error_code failed;
  // "host:path" is an address of git's, unless there is a folder of that name.
  if (!fs::is_directory(text, failed)) return text;
  const fs::path whole = fs::canonical(text, failed);
  return failed ? text : whole.string();
}

result<config::sandbox_request> to_request(const resource_flags& f, const config::environment& env) {
  config::sandbox_request out;
  take_text(f.name, out.name);
  take_text(f.template_name, out.template_name);
  take_text(f.repo.empty() ? f.repo : resolve_repo(f.repo), out.repo_url);
  take_text(f.repo_token, out.repo_token);
  take_text(f.repo_branch, out.repo_branch);
  take_text(f.repo_commit, out.repo_commit);
  take_text(f.repo_subdir, out.repo_subdir);
  take_text(f.init_script, out.init_script);
  take_text(f.backend, out.backend);
  const auto megabytes = [](const std::string& t) { return config::parse_size(t, config::size_unit::mebibytes); };
  const auto gigabytes = [](const std::string& t) { return config::parse_size(t, config::size_unit::gibibytes); };
  if (auto ok = take(f.cpus, "--cpus", out.cpus, config::parse_number); !ok) return ok.error();
  if (auto ok = take(f.memory, "--memory", out.memory_mb, megabytes); !ok) return ok.error();
  if (auto ok = take(f.disk, "--disk", out.disk_gb, gigabytes); !ok) return ok.error();
  if (auto ok = take(f.network, "--network", out.network_mode, config::parse_network_mode); !ok) return ok.error();
  if (auto ok = take(f.budget, "--budget", out.budget, config::parse_number); !ok) return ok.error();
  if (auto ok = take(f.timeout, "--timeout", out.timeout, config::parse_duration); !ok) return ok.error();
  take_list(f.allowlist, out.allowlist);
  take_list(f.packages, out.packages);
  take_list(f.agents, out.agents);
  take_list(f.secrets, out.secrets);
  std::optional<std::vector<std::string>> policies;
  take_list(f.policies, policies);
  if (policies) out.policies = *policies;
  for (const auto& text : f.env) {
    auto pair = parse_env_flag(text, env);
    if (!pair) return pair.error();
    out.env[pair->first] = pair->second;
  }
  return out;
}

json command_input(const std::vector<std::string>& words) {
  json out = json::object();
  if (words.size() == 1) {
    out["command"] = words[0];
  } else {
    out["argv"] = words;
  }
  return out;
}

copy_place parse_copy_place(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::size_t slash = text.find('/');
  const bool local = colon == std::string_view::npos || colon == 0 ||
                     (slash != std::string_view::npos && slash < colon) || text.front() == '.';
  if (local) return {"", std::string(text)};
  return {std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

std::vector<std::string> join_command(std::vector<std::string> remaining, const split_arguments& split) {
  if (split.dashes != split_arguments::mark::present) return remaining;
  // `exec ID sh -c X -- y`: the first words were the command already, so the dashes are its own.
  if (!remaining.empty()) remaining.emplace_back("--");
  remaining.insert(remaining.end(), split.tail.begin(), split.tail.end());
  return remaining;
}

}  // namespace caged::cli
