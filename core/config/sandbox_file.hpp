// Reads .caged.yaml: the sandbox a project wants.
#pragma once

#include <core/config/environment.hpp>
#include <core/config/sandbox_request.hpp>
#include <filesystem>
#include <optional>
#include <string_view>

namespace caged::config {

inline constexpr std::string_view sandbox_file_name = ".caged.yaml";

// `name` is what errors call the file; `folder` is where a relative repository path starts. Unknown keys, wrong types
// and unset variables are errors (invalid_argument) that name the file, the line, the key and the nearest known key.
result<sandbox_request> parse_sandbox_file(std::string_view text, std::string_view name,
                                           const std::filesystem::path& folder, const environment& env);

result<sandbox_request> load_sandbox_file(const std::filesystem::path& file, const environment& env);

}  // namespace caged::config
