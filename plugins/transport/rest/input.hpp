// Makes the arguments of an operation out of path, query and JSON body. No sockets; fuzzed.
#pragma once

#include <caged/http.hpp>
#include <caged/operation.hpp>

#include "router.hpp"

namespace caged::rest {

// A text of the path or the query as the type its schema asks for ("3" → 3, "true" → true). What does not fit stays
// text: the schema check of the operation then says what was expected.
json typed_value(std::string_view text, const json& schema);

// The query as JSON, typed by the operation's input schema. A name given several times is an error unless it is an
// array, which takes repeated names or one comma-separated value. `skip` names that the transport itself uses.
result<json> query_arguments(const operation_info& info, const http::request& head,
                             const std::vector<std::string>& skip);

// Path over query and body; the same property from two places is an error, however equal.
result<json> merge_arguments(const operation_info& info, const path_parameters& path, json query, json body);

}  // namespace caged::rest
