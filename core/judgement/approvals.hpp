// Questions to a human: what a policy answered `ask` about waits here, with a deadline, denied when nobody decides.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <core/policy/verdict.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/journal/journal.hpp"
#include "core/judgement/subject.hpp"

namespace caged::judgement {

// On the loop thread. Every question and every decision is an event "approval" in the sandbox's session.
class approvals {
 public:
  approvals(asio::any_io_executor executor, journal::journal& j, storage& records, std::chrono::seconds patience)
      : executor_(std::move(executor)), journal_(j), records_(records), patience_(patience) {}

  // What was still open when the server stopped has been denied by its end.
  task<void> restore();
  // Whether a human allowed it in time. Cancelled by its caller, the question is withdrawn.
  task<bool> decide(event question, policy::verdict asked, subject who);

  // Newest first: {id, state, gate, data, reason, rule, policy, advice, sandbox_id, session_id, account, created_at,
  // expires_at, decided_at, decided_by, note}; `state` "" = all: pending approved denied expired.
  task<std::vector<json>> list(std::string state, std::size_t limit);
  task<json> get(std::string id);
  // not_found, or conflict when it is decided already.
  task<json> answer(std::string id, std::string state, std::string by, std::string note);
  std::size_t waiting() const noexcept { return open_.size(); }

 private:
  static constexpr std::size_t most_open = 1000;
  struct open_question {
    open_question(asio::any_io_executor e, std::chrono::seconds patience) : timer(e, patience) {}
    json row;
    asio::steady_timer timer;
  };
  task<void> save(json row);

  asio::any_io_executor executor_;
  journal::journal& journal_;
  storage& records_;
  const std::chrono::seconds patience_;
  std::map<std::string, std::shared_ptr<open_question>> open_;
};

}  // namespace caged::judgement
