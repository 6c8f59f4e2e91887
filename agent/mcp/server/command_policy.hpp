// Which programs a command may run, decided on the parsed command, not on its text.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace caged::mcp {

// Where a list is set, a command is parsed, every program in it is looked up, and what the shell gets is written anew
// from what was understood, each word quoted: the shell has nothing left to interpret but operators and * and ?.
// A listed interpreter (python, node, make …) can of course run anything: the list says which programs are started by
// the command, the walls around the process say what those may do.
class command_policy {
 public:
  explicit command_policy(std::optional<std::vector<std::string>> allowed) : allowed_(std::move(allowed)) {}
  bool limited() const noexcept { return allowed_.has_value(); }
  bool allows(const std::string& program) const;
  // The command for the shell. Throws a failure (reason command_refused) that says what was refused and why.
  std::string checked(const std::string& command) const;
  // Whether any program of a checked command is git.
  static bool runs_git(const std::string& checked_command);

 private:
  std::optional<std::vector<std::string>> allowed_;
};

}  // namespace caged::mcp
