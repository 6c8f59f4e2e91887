// Records of sessions: one stretch of an agent's work in a sandbox, and the chain of its events.
#pragma once

#include "core/journal/journal.hpp"

namespace caged::journal {

// As stored under kind "session". event_count is read from the chain, which is the truth about it.
struct session {
  std::string id;          // "sess-…"
  std::string sandbox_id;
  std::string status;      // active, completed, failed
  std::string agent_type;
  std::string model;
  std::int64_t started_us = 0;
  std::int64_t ended_us = 0;  // 0 while active
  std::uint64_t event_count = 0;
  std::uint64_t version = 0;  // of the record
};

json to_json(const session& s);

enum class session_end : std::uint8_t { unset = 0, completed, failed };

// Coroutines may run at the same time; two changes of one session are told apart by the record's version.
class sessions {
 public:
  sessions(journal& j, storage& s) : journal_(j), storage_(s) {}

  // After journal::open(): sessions that were active when the host died are current again.
  task<void> restore();

  // Stores the record together with a "lifecycle" event {"action":"session_started"} and makes it the sandbox's current
  // session. A session that was current before is left as it is; end it first.
  task<session> start(std::string sandbox_id, std::string agent_type, std::string model = {});

  // Stores the end with an event {"action":"session_ended","status":…}. conflict when it has ended already.
  task<session> end(std::string id, session_end how);

  task<session> get(std::string id);  // not_found, reason "session_not_found"
  // Ascending by id, those after `after_id`; of one sandbox, or of all for "".
  task<std::vector<session>> list(std::string sandbox_id, std::string after_id, std::size_t limit);

 private:
  task<session> complete(record r);

  journal& journal_;
  storage& storage_;
};

}  // namespace caged::journal
