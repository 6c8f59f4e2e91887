// Reads what a handler returned. Internal.
#pragma once

#include <core/policy/lua_state.hpp>
#include <core/policy/verdict.hpp>

namespace caged::policy {

enum class stage : std::uint8_t { unset = 0, gate, fact };

// The answers are the `count` values on the stack's top: each nil, a verdict (a table made by allow(), deny() …) or a
// sequence of verdicts. Fills in `policy`. At a fact, which has already happened, deny and ask are refused. May raise
// (memory): call it under protection.
result<verdict> read_answers(lua_State* state, int count, stage at, const std::string& policy);

}  // namespace caged::policy
