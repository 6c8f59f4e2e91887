// The catalogue of events that policies can ask for: types, fields, and which of them are gates.
#pragma once

#include <caged/event.hpp>
#include <core/policy/verdict.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy {

struct event_field {
  std::string_view name;
  std::string_view type;     // a JSON Schema type: string integer number boolean array object
  std::string_view summary;
};

// A gate is a question asked before something happens; a fact has happened and stands in the journal.
struct event_type {
  std::string_view name;
  bool gate = false;
  std::string_view recorded_as;  // gates: the type of the fact that follows; replay asks the gate again with it
  std::string_view summary;
  std::vector<event_field> fields;
};

const std::vector<event_type>& event_types();
const event_type* find_gate(std::string_view name) noexcept;
const event_type* find_fact(std::string_view name) noexcept;

// JSON Schema (2020-12) of an event's data. Unknown members are allowed: producers may be newer than policies.
json event_schema(const event_type& type);
// The data held against the catalogue: the first member of a wrong type is an error (invalid_argument) with its path.
result<void> check_event_data(const event_type& type, const json& data);
// The tables in policies/README.md, between its markers.
std::string catalogue_markdown();

}  // namespace caged::policy
