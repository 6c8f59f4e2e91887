// Drops the beginning of chains, and leaves the link that the rest hangs on.
#pragma once

#include "core/journal/journal.hpp"

namespace caged::journal {


// Drops the session's events before `until_us` (or all but the last for INT64_MAX), in bounded steps, each in one commit
// with the anchor and a "lifecycle" event {"action":"events_dropped"} of the host session, which so vouches for the
// anchor. The last event of a chain always stays. Answers how many were dropped.
task<std::uint64_t> drop_before(journal* j, storage* s, std::string session_id, std::int64_t until_us);
// Drops all events of the session with its anchor and the given writes.
task<void> drop_session(journal* j, std::string session_id, std::vector<write> writes);

}  // namespace caged::journal
