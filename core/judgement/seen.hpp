// Recorded facts in the words of the event catalogue: what API calls leave in the journal is written for people.
#pragma once

#include <caged/event.hpp>
#include <optional>
#include <string>

namespace caged::judgement {

// The fact as policies are told it; nullopt when it says nothing new to them (an end of what was told, the judge's own).
std::optional<event> as_seen(event e);

// A gate's name for an operation on files ("file.write" → "write"); "" for operations that are no gate.
std::string file_operation(const std::string& operation);

// The data of the gate `file_op` for the arguments of a file operation of the API.
json file_question(const std::string& operation, const json& arguments, const std::string& transport);

}  // namespace caged::judgement
