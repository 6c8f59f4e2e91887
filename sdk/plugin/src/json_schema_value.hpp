// JSON values as JSON Schema compares, counts and words them; private to the SDK.
#pragma once

#include "json_schema_node.hpp"

namespace caged::schema {

// Equality of JSON Schema: 1 and 1.0 are equal, true and 1 are not.
bool equal(const json& a, const json& b);
// Equal values have equal keys and no others have: for sets of values.
std::string canonical(const json& value);

// <0, 0, >0; exact for every pair of 64-bit integers and doubles.
int compare_numbers(const json& a, const json& b);
bool is_multiple(const json& value, const json& divisor);
bool is_integer(const json& value);
std::uint64_t code_points(const std::string& text);

unsigned types_of(const json& value);          // all bits that fit
std::string type_words(unsigned types);        // "an integer or a string"
std::string show(const json& value);           // "the string \"abc\"", short
std::string show_list(const json& values);
// A bound as people write it: 8, not 8.0.
std::string plain_number(const json& number);     // "\"a\", \"b\", 3", short

// Order of a document: parents before children, members by name, items by index.
bool pointer_less(const std::string& a, const std::string& b);

}  // namespace caged::schema
