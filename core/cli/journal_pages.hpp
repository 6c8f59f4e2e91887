// A session's events, page by page, however many there are.
#pragma once

#include <caged/http_client.hpp>
#include <caged/json.hpp>
#include <functional>
#include <string>
#include <vector>

namespace caged::cli {

// Tells every event of these types (empty: all) in order until `take` answers false. How many there were.
result<std::uint64_t> each_event(http::client& client, const std::string& session, const std::vector<std::string>& types,
                                 const std::function<bool(json)>& take);

}  // namespace caged::cli
