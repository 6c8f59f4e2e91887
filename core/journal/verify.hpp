// Recomputes the hash chain of one session.
#pragma once

#include "core/journal/journal.hpp"

namespace caged::journal {

// Records of this kind, by session: the last event that retention dropped, {sequence, hash, event_id}.
inline constexpr const char* anchor_kind = "chain_anchor";

// Reads page by page. The error is the storage's; a chain that does not hold is an answer, not an error.
task<verification> verify_chain(storage& s, std::string session_id);

}  // namespace caged::journal
