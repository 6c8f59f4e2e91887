// How commands are declared. Each file commands_*.cpp adds its own; run() picks and performs one.
#pragma once

#include <CLI/CLI.hpp>
#include <core/cli/arguments.hpp>
#include <core/cli/operation_help.hpp>
#include <core/cli/session.hpp>
#include <functional>
#include <memory>
#include <string>

namespace caged::cli {

// What a command does once everything is parsed: the exit code, or why Caged could not.
using action = std::function<result<int>(session&)>;

// What the chosen command asks of run().
struct chosen_command {
  action act;
  // Exit code of an error: 1, or 125 for commands that mirror another program's code.
  int failure_code = 1;
};

// Passed to every add_* function. Refers to objects of run(), which outlive the parsing and the command.
struct command_set {
  global_flags& flags;
  chosen_command& chosen;
  const split_arguments& split;
  const serve_function& serve;
  const std::function<result<json>(const json&)>& policy_tool;

  // A subcommand with the global flags, examples and what it calls under its help, and its action. A command that is
  // an operation takes its words from the registry: help_of("sandbox.pause").
  CLI::App* add(CLI::App& parent, const std::string& name, const help_text& help, const std::string& examples,
                action act, int failure_code = 1) const;
  // --json, --format, --api-url …
  void add_global_flags(CLI::App& command) const;
  // A subcommand that only holds others.
  CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& summary) const;
};

void add_lifecycle_commands(CLI::App& parent, const command_set& set);  // up list status destroy pause resume create
void add_run_command(CLI::App& parent, const command_set& set);
void add_exec_commands(CLI::App& parent, const command_set& set);  // exec connect
void add_process_commands(CLI::App& parent, const command_set& set);  // ps kill ports
void add_file_commands(CLI::App& parent, const command_set& set);  // cp files diff changes
void add_stream_commands(CLI::App& parent, const command_set& set);  // logs events
void add_template_commands(CLI::App& parent, const command_set& set);
void add_snapshot_commands(CLI::App& parent, const command_set& set);  // snapshot fork
void add_network_commands(CLI::App& parent, const command_set& set);  // network get set log why
void add_host_commands(CLI::App& root, const command_set& set);  // keys plugins doctor templates capabilities
void add_money_commands(CLI::App& root, const command_set& set);  // cost secrets
void add_billing_commands(CLI::App& root, const command_set& set);  // billing
void add_policy_commands(CLI::App& root, const command_set& set);  // policy list check test explain replay new
void add_judgement_commands(CLI::App& root, const command_set& set);  // trust approvals
void add_alert_commands(CLI::App& root, const command_set& set);  // alerts
void add_replay_commands(CLI::App& root, const command_set& set);  // replay audit sessions
void add_local_commands(CLI::App& root, const command_set& set);  // serve version login config
void add_operation_commands(CLI::App& root, const command_set& set);  // operations
void add_mcp_commands(CLI::App& root, const command_set& set);  // mcp
void add_completion_command(CLI::App& root, const command_set& set);

// Builds the whole command line on `root`.
void declare_commands(CLI::App& root, const command_set& set);

// Shell completion for the commands of `root`; pure. Shells: bash, zsh, fish.
result<std::string> completion_script(const CLI::App& root, std::string_view shell);

}  // namespace caged::cli
