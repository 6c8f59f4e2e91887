// Statements of what was billed, for spreadsheets and for paper.
#pragma once

#include <caged/json.hpp>
#include <string>

namespace caged::operation {

// One row a line; fields that a spreadsheet would take for a formula are marked as text.
std::string statement_csv(const json& statement);
// One self-contained page, without scripts.
std::string statement_html(const json& statement);

}  // namespace caged::operation
