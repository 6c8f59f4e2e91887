#include <core/cli/cli.hpp>

#include <caged/json_schema.hpp>
#include <core/base/version.hpp>
#include <core/cli/commands.hpp>

#include <signal.h>
#include <unistd.h>

namespace caged::cli {
namespace {

constexpr const char* description =
    "Caged: a safe place for AI coding agents to work.\n"
    "\n"
    "  caged run -- python3 -c 'print(1)'     run one command in a fresh sandbox\n"
    "  caged up && caged ls                   make the sandbox that .caged.yaml describes\n"
    "  caged exec ID -- make test             run a command in it\n"
    "  caged connect ID                       open a terminal in it (detach with Ctrl-])\n"
    "  caged cp ID:/workspace/out ./out       copy files out of it";

constexpr const char* footer =
    "The server is found by --api-url, --data, CAGED_API_URL, ~/.config/caged, or the local data folder.\n"
    "'caged COMMAND --help' explains a command.";

void add_global_flags(CLI::App& command, global_flags& flags) {
  const char* group = "Global";
  command.add_flag("--json", flags.json, "Answer with JSON (streams: one document per line)")->group(group);
  command.add_option("--format", flags.format, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->group(group);
  command.add_option("--api-url", flags.api_url, "The server to talk to (CAGED_API_URL)")->group(group);
  command.add_option("--api-key", flags.api_key, "Its key (CAGED_API_KEY; a flag is visible to other users)")
      ->group(group);
  if (command.get_name() != "serve") {
    command.add_option("--data", flags.data, "Data folder of the local server (CAGED_DATA)")->group(group);
  }
  command.add_flag("-q,--quiet", flags.quiet, "No notes and no progress on standard error")->group(group);
  command.add_flag("--no-color", flags.no_color, "No colours (NO_COLOR)")->group(group);
}

// What was meant by a command that does not exist.
std::string unknown_command(const CLI::App& root, const std::vector<std::string>& words) {
  const CLI::App* at = &root;
  for (const auto& word : words) {
    if (word.rfind('-', 0) == 0) return {};
    const auto below = at->get_subcommands([](const CLI::App*) { return true; });
    if (below.empty()) return {};
    const auto it = std::find_if(below.begin(), below.end(), [&](const CLI::App* a) { return a->check_name(word); });
    if (it != below.end()) {
      at = *it;
      continue;
    }
    std::vector<std::string> names;
    for (const CLI::App* a : below) {
      names.push_back(a->get_name());
      for (const auto& alias : a->get_aliases()) names.push_back(alias);
    }
    const std::string near = nearest(word, names);
    return "there is no command '" + word + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?");
  }
  return {};
}

std::filesystem::path own_program() {
  std::error_code failed;
  auto path = std::filesystem::read_symlink("/proc/self/exe", failed);
  return failed ? std::filesystem::path("/usr/bin/caged") : path;
}

// Usage errors of commands that mirror another program's code must not look like that program's.
int usage_code(const std::vector<std::string>& words) {
  for (const auto& word : words) {
    if (word == "run" || word == "exec") return 125;
    if (word != "sandboxes" && word.rfind('-', 0) != 0) return 2;
  }
  return 2;
}

int perform(const chosen_command& chosen, session& s) {
  try {
    const auto code = chosen.act(s);
    if (code) return *code;
    write_all(STDERR_FILENO, error_text(code.error(), s.err_colors()));
    return chosen.failure_code;
  } catch (const std::exception& e) {
    const auto bug = fail(errc::internal, "internal_error", std::string("this is a bug in caged: ") + e.what(),
                          "Please report it with the command that you ran.");
    write_all(STDERR_FILENO, error_text(bug, s.err_colors()));
    return chosen.failure_code;
  }
}

int parse_and_perform(int argc, char** argv, const host_functions& host) {
  const split_arguments split = split_at_dashes(argc, argv);
  global_flags flags;
  chosen_command chosen;
  CLI::App root(description, "caged");
  const command_set set{flags, chosen, split, host.serve, host.policy_tool};
  declare_commands(root, set);

  std::vector<std::string> reversed(split.own.rbegin(), split.own.rend());
  try {
    root.parse(reversed);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return root.exit(e);  // --help, --version
    std::string message = e.what();
    if (dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr ||
        dynamic_cast<const CLI::RequiredError*>(&e) != nullptr) {
      const std::string better = unknown_command(root, split.own);
      if (!better.empty()) message = better;
    }
    const auto wrong = fail(errc::invalid_argument, "bad_usage", message,
                            "'caged --help' lists the commands; "
                            "'caged COMMAND --help' explains one.");
    write_all(STDERR_FILENO, error_text(wrong, colors::off));
    return usage_code(split.own);
  }
  if (!chosen.act) {
    write_all(STDOUT_FILENO, root.help());
    return split.own.empty() ? 0 : 2;
  }
  session s(flags, config::process_environment(), own_program());
  return perform(chosen, s);
}

}  // namespace

void command_set::add_global_flags(CLI::App& command) const { cli::add_global_flags(command, flags); }

CLI::App* command_set::add(CLI::App& parent, const std::string& name, const help_text& help,
                           const std::string& examples, action act, int failure_code) const {
  CLI::App* command = parent.add_subcommand(name, help.summary);
  std::string footer = examples.empty() ? std::string() : "Examples:\n" + examples;
  if (!help.more.empty()) footer += (footer.empty() ? "" : "\n\n") + help.more;
  if (!footer.empty()) command->footer(footer);
  add_global_flags(*command);
  chosen_command& slot = chosen;
  command->callback([&slot, act = std::move(act), failure_code] {
    slot.act = act;
    slot.failure_code = failure_code;
  });
  return command;
}

CLI::App* command_set::add_group(CLI::App& parent, const std::string& name, const std::string& summary) const {
  CLI::App* group = parent.add_subcommand(name, summary);
  group->require_subcommand(1);
  return group;
}

void declare_commands(CLI::App& root, const command_set& set) {
  root.footer(footer);
  root.require_subcommand(0, 1);
  root.set_help_flag("-h,--help", "Print this help");
  root.set_version_flag("-v,--version", "caged " + std::string(base::version()));
  set.add_global_flags(root);
  add_money_commands(root, set);
  add_billing_commands(root, set);
  add_local_commands(root, set);
  for (CLI::App* parent : {&root, set.add_group(root, "sandboxes", "The commands about sandboxes, as a group")}) {
    add_lifecycle_commands(*parent, set);
    add_run_command(*parent, set);
    add_exec_commands(*parent, set);
    add_process_commands(*parent, set);
    add_file_commands(*parent, set);
    add_stream_commands(*parent, set);
    add_network_commands(*parent, set);
    add_snapshot_commands(*parent, set);
  }
  add_host_commands(root, set);
  add_template_commands(root, set);
  add_mcp_commands(root, set);
  add_policy_commands(root, set);
  add_judgement_commands(root, set);
  add_replay_commands(root, set);
  add_alert_commands(root, set);
  add_operation_commands(root, set);
  add_completion_command(root, set);
}

int run(int argc, char** argv, host_functions host) {
  // A reader that goes away (caged ls | head) is seen as a failed write, not as a death.
  ::signal(SIGPIPE, SIG_IGN);
  try {
    return parse_and_perform(argc, argv, host);
  } catch (const std::exception& e) {
    write_all(STDERR_FILENO, std::string("error: ") + e.what() + "\n");
    return 1;
  }
}

}  // namespace caged::cli
