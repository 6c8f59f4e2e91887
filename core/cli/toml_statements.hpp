// Where the statements of a TOML document begin and end: enough to change one table and leave the rest as it is.
#pragma once

#include <caged/result.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace caged::cli {

struct toml_statement {
  enum class kind : std::uint8_t { unset = 0, table, table_array, value } what = kind::unset;
  std::vector<std::string> key;  // its parts, without quotes
  std::size_t begin = 0, end = 0;  // in bytes, with the line end
};

// invalid_argument with the line for what is no TOML. Values are checked for their brackets and quotes, not for types.
result<std::vector<toml_statement>> toml_statements(std::string_view text);

}  // namespace caged::cli
