// Reads a shell command of the simple kind: words, quotes, pipelines, lists, redirections. Refuses whatever would be
// decided by the shell at run time.
#pragma once

#include <string>
#include <vector>

#include "handle.hpp"

namespace caged::mcp {

struct shell_word {
  std::string value;     // after quotes are removed
  std::string rendered;  // quoted anew; unquoted * and ? stay
  bool glob = false;     // has an unquoted * or ?
  std::size_t name_size = 0;  // of NAME in an unquoted NAME=…; 0: it is no assignment
};

struct shell_redirection {
  std::string operation;  // with its descriptor: "2>", ">&"
  shell_word target;
};

struct simple_command {
  std::vector<shell_word> words;
  std::vector<shell_redirection> redirections;
  std::string then;  // operator behind it: "|", "&&", "||", ";", "&" or "" at the end
};

// Throws a failure (reason command_refused).
std::vector<simple_command> read_shell_command(const std::string& text);
std::string shell_quoted(const std::string& value);
wire::failed refused_command(std::string what, std::string action);

}  // namespace caged::mcp
