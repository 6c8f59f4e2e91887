// Records of sessions: one stretch of an agent's work in a sandbox, and the chain of its events.
#pragma once

#include <unordered_map>

#include "core/journal/journal.hpp"

namespace caged::journal {

// As stored under kind "session". event_count is read from the chain, which is the truth about it.
struct session {
  std::string id;          // "sess-…"
  std::string sandbox_id;
  std::string status;      // active, completed, failed
  std::string agent_type;  // "claude-code", "codex" …; "" = not known
  std::string model;
  std::int64_t started_us = 0;
  std::int64_t ended_us = 0;  // 0 while active
  std::uint64_t event_count = 0;
};

json to_json(const session& s);

enum class session_end : std::uint8_t { unset = 0, completed, failed };

// All sessions, small as they are, are in memory: a page of a million costs what a page of ten does. On the loop
// thread; what is stored is stored with prepare_*() and put() by whoever has facts of its own to go with it.
class sessions {
 public:
  sessions(journal& j, storage& s) : journal_(j), storage_(s) {}

  // After journal::open(): reads the records; sessions that were active when the host died are current again.
  task<void> restore();

  // A session to begin, and what stores it; nothing has happened until keep() is called.
  session draft(std::string sandbox_id, std::string agent_type = {}, std::string model = {}) const;
  static write put(const session& s);
  // It is stored: from now on it is listed, and an active one is its sandbox's current session.
  void keep(const session& s);

  // Stores the record together with a "lifecycle" event {"action":"session_started"} and makes it the sandbox's current
  // session. A session that was current before is left as it is; end it first.
  task<session> start(std::string sandbox_id, std::string agent_type, std::string model = {});
  // Stores the end with an event {"action":"session_ended","status":…}. conflict when it has ended already.
  task<session> end(std::string id, session_end how);
  // What kind of agent works in it, once that is seen.
  task<void> recognise(std::string id, std::string agent_type);

  const session* find(const std::string& id) const;
  task<session> get(std::string id);  // with event_count; not_found, reason "session_not_found"
  // Newest first, `skip` of them left out; of one sandbox, or of all for "".
  task<std::vector<session>> page(std::string sandbox_id, std::size_t skip, std::size_t limit);
  std::size_t count(const std::string& sandbox_id) const;
  // Sessions that have ended before that time, the oldest first.
  std::vector<std::string> ended_before(std::int64_t time_us) const;
  const std::vector<std::string>& of_sandbox(const std::string& sandbox_id) const { return order(sandbox_id); }
  // Its events are gone, so is it.
  task<void> forget(std::string id);

 private:
  const std::vector<std::string>& order(const std::string& sandbox_id) const;

  journal& journal_;
  storage& storage_;
  std::unordered_map<std::string, session> all_;
  std::vector<std::string> by_start_;                                     // ids, oldest first
  std::unordered_map<std::string, std::vector<std::string>> by_sandbox_;  // the same of one sandbox
};

}  // namespace caged::journal
