// Asks policies before something happens, tells them what has happened, and acts on what they say.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>

#include "core/judgement/approvals.hpp"
#include "core/judgement/engines.hpp"
#include "core/judgement/trust_book.hpp"
#include "core/runtime/scope.hpp"

namespace caged::judgement {

// On the loop thread, all of it. A policy's answer costs microseconds; only `ask` verdicts wait.
class judge {
 public:
  using act = std::function<task<void>(std::string sandbox_id, std::string reason)>;
  struct parts {
    asio::any_io_executor executor;
    journal::journal* journal = nullptr;
    storage* records = nullptr;
    engine_settings policies;
    std::chrono::seconds approval_time{300};
    std::function<std::optional<subject>(std::string_view sandbox_id)> subject_of;
    act pause, destroy;
    // A known coding agent was started in the session.
    std::function<task<void>(std::string session_id, std::string agent)> agent_seen;
    std::function<void(log_level, std::string)> log;
  };
  explicit judge(parts p);

  // Loads the policies (a host without its policies does not start), then reads the journal from where it stopped.
  task<void> start();
  asio::awaitable<void> stop();

  // Asks at a gate: `question` has the gate's type, its data and the sandbox. What comes back is allow, annotate, deny,
  // pause or kill: an `ask` has been decided by then, pausing and killing are under way, and everything but a plain
  // allow is in the journal. Fails closed: a verdict is always an answer.
  asio::awaitable<policy::verdict> ask(event question);
  // For a sandbox that is not there yet.
  asio::awaitable<policy::verdict> ask(event question, subject who);
  // ask(), as an error (permission_denied, reason "policy_denied") unless it is allowed.
  task<void> permit(event question);
  static error refusal(const policy::verdict& v);

  // Trust of a session, see trust_book::show(); everything that was stored before the call counts.
  task<json> trust(std::string session_id, std::string sandbox_id);
  // The same as it stands, without waiting.
  task<json> recorded_trust(std::string session_id, std::string sandbox_id) {
    return book_.show(std::move(session_id), std::move(sandbox_id));
  }
  // The score in memory; nullopt when the session is not at work.
  std::optional<int> score(const std::string& session_id) const;
  // Waits until all that is stored now has been told to the policies, at most a second.
  asio::awaitable<void> catch_up();
  approvals& questions() noexcept { return approvals_; }
  engines& policies() noexcept { return engines_; }

 private:
  asio::awaitable<void> observe();
  asio::awaitable<void> keep();
  task<void> look_at(event e);
  void tell(const std::vector<policy::script_failure>& failures, const event& about);
  // Deductions into the score and the journal, in one commit; then what the verdict asks for.
  task<void> settle(std::shared_ptr<trust_page> page, const policy::verdict v, const event about);
  void follow_up(const std::string& sandbox_id, const policy::verdict& v);
  asio::awaitable<void> act_on(act what, std::string sandbox_id, std::string reason);
  const json& context(trust_page& page, const event& e);

  parts parts_;
  engines engines_;
  trust_book book_;
  approvals approvals_;
  runtime::scope work_;
  asio::steady_timer moved_;  // cancelled when position_ moves: a condition variable
  std::uint64_t position_ = 0;
};

}  // namespace caged::judgement
