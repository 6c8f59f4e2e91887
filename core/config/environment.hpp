// The caller's environment, and ${VAR} in values.
#pragma once

#include <caged/result.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace caged::config {

// Looks a variable up; nullopt when it is not set. A function, so that tests need no global state.
using environment = std::function<std::optional<std::string>(std::string_view name)>;

// The environment of this process.
environment process_environment();

// Replaces ${VAR}, ${VAR:-default} and $VAR; "$$" is a dollar sign; a dollar sign before anything else stays.
// `where` names the place in errors ("env.TOKEN"). Errors: invalid_argument, reasons "unset_variable" (names the
// variable) and "malformed_variable".
result<std::string> expand_variables(std::string_view text, const environment& env, std::string_view where);

}  // namespace caged::config
