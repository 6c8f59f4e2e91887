// What `caged policy list|check|test|replay|explain|new` do, as functions that answer JSON.
#pragma once

#include <caged/event.hpp>
#include <caged/result.hpp>
#include <core/policy/policy_engine.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy {

// Every policy found under the roots: [{name, version, description, file, gates, facts, args_schema, problem?}]. A file
// that does not load is in the list with its problem.
json list_policies(const std::vector<std::filesystem::path>& roots);

// Loads the policies as the host would and answers {ok, policies:[…], error?:{reason, message, action, path}}.
json check_policies(const engine_options& options);

// Runs test files (x_test.lua). `files` empty: all under the roots. {passed, failed, files:[{file, error?,
// tests:[{name, passed, message?, milliseconds}]}]}. `filter` "" or a part of the tests' names.
json run_policy_tests(const std::vector<std::filesystem::path>& roots, std::vector<std::filesystem::path> files = {},
                      std::string_view filter = {});

// One event, each handler's own answer and what it cost: {event, stage, verdict, handlers:[{policy, verdict,
// instructions, allocated_bytes, microseconds}]}. A type that is only a gate is asked as one whatever `how` says.
enum class explain_as : std::uint8_t { unset = 0, gate, fact };
result<json> explain_event(const engine_options& options, const event& e, const json& session, explain_as how);

// Recorded sessions through `after` and, when given, `before`; what would have been different. Facts are told to
// on-handlers in order; facts that a gate precedes (the catalogue's recorded_as) are asked about at that gate too.
// {events, sessions:[{session_id, score, score_before?, band, deductions, differences:[{event_id, sequence, type,
// stage, before, after}]}], changed, verdicts:{kind:count}}
result<json> replay_events(const engine_options& after, const engine_options* before, const std::vector<event>& events,
                           const json& session);

// Writes <root>/<name>/<name>.lua and its test; refuses to overwrite. Answers {files:[…]}.
result<json> new_policy(const std::filesystem::path& root, const std::string& name);

// An event from the JSON of the API or of a test: {type, data, session_id?, sandbox_id?, id?, sequence?, time_us?}.
result<event> event_from_json(const json& value);

}  // namespace caged::policy
