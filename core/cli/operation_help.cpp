#include <core/cli/operation_help.hpp>

#include <algorithm>
#include <stdexcept>

namespace caged::cli {
namespace {

const operation_help& must_find(std::string_view name) {
  if (const auto* found = find_operation(name)) return *found;
  throw std::logic_error("a command names the operation '" + std::string(name) + "', which the registry lacks");
}

}  // namespace

const operation_help* find_operation(std::string_view name) {
  const auto all = operation_catalogue();
  const auto it = std::find_if(all.begin(), all.end(), [&](const operation_help& o) { return o.name == name; });
  return it == all.end() ? nullptr : &*it;
}

std::string about(std::string_view operation, std::string_view field) {
  for (const auto& f : must_find(operation).fields)
    if (f.name == field) return std::string(f.text);
  throw std::logic_error("operation '" + std::string(operation) + "' has no field '" + std::string(field) + "'");
}

help_text help_of(std::string_view operation) { return help_of(operation, std::string(must_find(operation).summary)); }

help_text help_of(std::string_view operation, std::string summary) {
  const auto& o = must_find(operation);
  std::string more;
  if (o.description != o.summary) more += std::string(o.description) + "\n";
  more += "API: " + std::string(o.route) + " (operation " + std::string(o.name) + ", a key of scope " +
          std::string(o.scope) + ")";
  return {std::move(summary), std::move(more)};
}

}  // namespace caged::cli
