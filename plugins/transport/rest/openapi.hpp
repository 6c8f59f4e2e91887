// Writes the OpenAPI 3.1 document of the routes that the operation registry gives.
#pragma once

#include <caged/operation.hpp>
#include <string>
#include <vector>

namespace caged::rest {

json openapi_document(const std::vector<const operation_info*>& operations, const std::string& version);

}  // namespace caged::rest
