// The tools for whoever writes policies, as the command line asks for them: they need no server.
#pragma once

#include <caged/json.hpp>
#include <caged/result.hpp>

namespace caged::app {

// {tool, roots, policies, …} → the tool's answer. Tools: list; check; test {files, filter}; explain {event, session,
// as}; replay {before, events, session}; new {root, name}.
result<json> policy_tool(const json& request);

}  // namespace caged::app
