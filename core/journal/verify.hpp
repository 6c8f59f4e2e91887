// Recomputes the hash chain of one session.
#pragma once

#include "core/journal/journal.hpp"

namespace caged::journal {

// Reads page by page. The error is the storage's; a chain that does not hold is an answer, not an error.
task<verification> verify_chain(storage& s, std::string session_id);

}  // namespace caged::journal
