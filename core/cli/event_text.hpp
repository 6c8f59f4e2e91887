// One event, and one log line, as a line of text. Pure.
#pragma once

#include <caged/json.hpp>
#include <core/cli/render.hpp>
#include <string>

namespace caged::cli {

// "12  2026-01-02T03:04:05Z  command  cage_1  command=\"make test\" exit_code=0\n"; made printable.
std::string event_line(const json& event, colors use);

// "<timestamp> [type] message\n"; made printable.
std::string log_line(const json& line);

}  // namespace caged::cli
