// JSON to Lua values and back. Internal.
#pragma once

#include <caged/json.hpp>
#include <lua.hpp>

namespace caged::policy {

struct json_limits {
  std::size_t depth = 16;
  std::size_t bytes = 64 * 1024;  // roughly the text it would be
};

// Pushes plain tables, strings, numbers. May raise (memory).
void push_json(lua_State* state, const json& value);

// The value at the index as JSON. Sequences become arrays, tables with string keys objects, the empty table {}. Refuses
// what JSON cannot hold (functions, event values, mixed or numeric keys, NaN) and what is over the limits. May raise
// (memory).
result<json> to_json(lua_State* state, int index, const json_limits& limits);

}  // namespace caged::policy
