// What the operation registry says, for help texts: data made from the registry while building, so that the command
// line says what the API says without linking the server's rooms.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace caged::cli {

// A field of an operation's input with its description; or an example with its input as JSON.
struct operation_field {
  std::string_view name;
  std::string_view text;
};

struct operation_help {
  std::string_view name;         // "sandbox.pause"
  std::string_view summary;      // one line
  std::string_view description;
  std::string_view route;        // "POST /v1/sandboxes/{id}/pause"
  std::string_view scope;        // what a key needs
  std::span<const operation_field> fields;
  std::span<const operation_field> examples;
};

// Every operation of the host, ordered by name. Operations that plugins add are the server's to tell.
std::span<const operation_help> operation_catalogue();

// Null when there is none of that name.
const operation_help* find_operation(std::string_view name);

// The description of a field. Precondition: the operation and the field exist; else it throws std::logic_error, which
// a test of all commands would meet.
std::string about(std::string_view operation, std::string_view field);

// A command's one-line summary and, under its examples, what it calls.
struct help_text {
  std::string summary;
  std::string more;

  help_text(const char* text) : summary(text) {}         // NOLINT: a command that is no operation says it itself
  help_text(std::string text) : summary(std::move(text)) {}  // NOLINT
  help_text(std::string text, std::string rest) : summary(std::move(text)), more(std::move(rest)) {}
};

// The help of a command that performs one operation. Precondition as for about().
help_text help_of(std::string_view operation);
// The same with a summary of its own, for a command that does more than the operation.
help_text help_of(std::string_view operation, std::string summary);

}  // namespace caged::cli
