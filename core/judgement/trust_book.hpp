// The trust of every session that lives, and of those that have ended as they were stored.
#pragma once

#include <caged/storage.hpp>
#include <caged/task.hpp>
#include <core/policy/policy_engine.hpp>
#include <core/policy/trust_score.hpp>
#include <map>
#include <memory>
#include <string>

namespace caged::judgement {

// One session as the judge keeps it.
struct trust_page {
  std::string session_id, sandbox_id;
  policy::trust_score score;
  std::shared_ptr<policy::policy_engine> engine;  // holds the policies' own state for the session
  std::uint64_t observed = 0;                     // every event of the session up to here has been told
  std::int64_t updated_us = 0;
  json context;                                   // ctx.session, made now and then
  std::int64_t context_us = 0;
  std::string agent;                              // recognised by what it runs
  bool agent_told = false;
  bool dirty = false, ended = false;
};

// On the loop thread.
class trust_book {
 public:
  explicit trust_book(storage& records) : records_(records) {}

  // The session's page; read from storage, with the policies' state, when it is not in memory.
  task<std::shared_ptr<trust_page>> open(std::string session_id, std::string sandbox_id,
                                         std::shared_ptr<policy::policy_engine> engine);
  // In memory, or null.
  std::shared_ptr<trust_page> find(const std::string& session_id) const;
  // {session_id, sandbox_id, score, band, advice, deductions, dropped, updated_at}; 100 for a session never deducted.
  task<json> show(std::string session_id, std::string sandbox_id);

  // What stores a page as it is now.
  write put(trust_page& page) const;
  // Stores every page that changed together with `position`, then lets go of those whose session has ended.
  task<void> flush(std::uint64_t position);
  task<std::uint64_t> position();
  const std::map<std::string, std::shared_ptr<trust_page>>& pages() const noexcept { return pages_; }

 private:
  storage& records_;
  std::map<std::string, std::shared_ptr<trust_page>> pages_;
  std::uint64_t stored_position_ = 0;
};

}  // namespace caged::judgement
