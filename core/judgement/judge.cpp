// Gates.
#include "core/judgement/judge.hpp"

#include "core/base/time.hpp"

namespace caged::judgement {
namespace {

policy::verdict closed(std::string reason, std::string advice) {
  policy::verdict v;
  v.kind = policy::verdict_kind::deny;
  v.reason = std::move(reason);
  v.rule = "policies_unavailable";
  v.advice = std::move(advice);
  return v;
}

}  // namespace

judge::judge(parts p)
    : parts_(std::move(p)),
      engines_(parts_.policies),
      book_(*parts_.records),
      approvals_(parts_.executor, *parts_.journal, *parts_.records, parts_.approval_time),
      work_(parts_.executor,
            [this](std::string_view name, std::string_view what) {
              parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
            }),
      moved_(parts_.executor, asio::steady_timer::time_point::max()) {}

error judge::refusal(const policy::verdict& v) {
  std::string message = v.reason.empty() ? "a policy refused it" : v.reason;
  if (!v.policy.empty()) message += " (policy " + v.policy + (v.rule.empty() ? "" : ", rule " + v.rule) + ")";
  return fail(errc::permission_denied, "policy_denied", std::move(message),
              v.advice.empty() ? "Change the policy if this is meant to be allowed: `caged policy list`." : v.advice);
}

task<void> judge::permit(event question) {
  const policy::verdict v = co_await ask(std::move(question));
  if (!v.allowed()) co_return refusal(v);
  co_return result<void>{};
}

asio::awaitable<policy::verdict> judge::ask(event question) {
  auto who = parts_.subject_of(question.sandbox_id);
  if (!who)
    co_return closed("there is no sandbox \"" + question.sandbox_id + "\"", "List them with `caged ls`.");
  co_return co_await ask(std::move(question), std::move(*who));
}

asio::awaitable<policy::verdict> judge::ask(event question, subject who) {
  if (question.time_us == 0) question.time_us = base::now_us();
  question.session_id = who.session_id;
  question.sandbox_id = who.sandbox_id;
  auto engine = engines_.find(who.account, who.policies);
  if (!engine) {
    parts_.log(log_level::error, "policies of " + who.sandbox_id + " do not load: " + describe(engine.error()));
    co_return closed("its policies do not load: " + engine.error().message, engine.error().action);
  }
  std::shared_ptr<trust_page> page;
  if (!who.session_id.empty()) {
    auto opened = co_await book_.open(who.session_id, who.sandbox_id, *engine);
    if (!opened) co_return closed("the session's record cannot be read: " + opened.error().message, opened.error().action);
    page = *opened;
  }
  const json about = to_context(who, page ? page->score.score() : 100);
  policy::verdict v = (*engine)->gate(question, about);
  tell(v.failures, question);
  if (page) page->dirty = true;  // a gate may keep state
  if (v.kind == policy::verdict_kind::ask) {
    policy::verdict asked = v;
    event copy = question;
    subject self = who;
    auto allowed = co_await approvals_.decide(std::move(copy), std::move(asked), std::move(self));
    const bool yes = allowed && *allowed;
    v.kind = yes ? policy::verdict_kind::allow : policy::verdict_kind::deny;
    if (!yes) v.reason += allowed ? " (nobody allowed it)" : " (it could not be asked: " + allowed.error().message + ")";
  }
  if (v.kind != policy::verdict_kind::allow) {
    event told;
    told.session_id = who.session_id.empty() ? std::string(journal::host_session) : who.session_id;
    told.sandbox_id = who.sandbox_id;
    told.type = "policy";
    told.time_us = question.time_us;
    told.data = {{"gate", question.type}, {"question", question.data}, {"verdict", v.to_json()}};
    parts_.journal->publish(std::move(told));
  }
  if (page && !v.deductions.empty()) {
    auto settled = co_await settle(page, v, question);
    if (!settled) co_return closed("the deduction could not be stored: " + settled.error().message, settled.error().action);
  }
  follow_up(who.sandbox_id, v);
  co_return v;
}

void judge::tell(const std::vector<policy::script_failure>& failures, const event& about) {
  for (const auto& failure : failures) {
    event e;
    e.session_id = about.session_id.empty() ? std::string(journal::host_session) : about.session_id;
    e.sandbox_id = about.sandbox_id;
    e.type = "policy_error";
    e.time_us = base::now_us();
    e.data = policy::failure_data(failure, about.type, about.id);
    parts_.journal->publish(std::move(e));
    parts_.log(log_level::warn, "policy " + failure.policy + " failed: " + failure.message);
  }
}

void judge::follow_up(const std::string& sandbox_id, const policy::verdict& v) {
  if (sandbox_id.empty()) return;
  const std::string reason = "policy " + v.policy + ": " + v.reason;
  if (v.kind == policy::verdict_kind::pause) work_.spawn("pausing by policy", act_on(parts_.pause, sandbox_id, reason));
  if (v.kind == policy::verdict_kind::kill) work_.spawn("ending by policy", act_on(parts_.destroy, sandbox_id, reason));
}

asio::awaitable<void> judge::act_on(act what, std::string sandbox_id, std::string reason) {
  auto acting = what(sandbox_id, reason);
  auto done = co_await std::move(acting);
  if (done) co_return;
  if (done.error().code == errc::conflict || done.error().code == errc::not_found) co_return;  // it is so already
  parts_.log(log_level::error, "what a policy asked for could not be done to " + sandbox_id + ": " + describe(done.error()));
  event e;
  e.sandbox_id = sandbox_id;
  e.type = "error";
  e.time_us = base::now_us();
  e.data = {{"source", "policy"}, {"reason", done.error().reason}, {"message", reason + "; it failed: " + done.error().message}};
  parts_.journal->publish(std::move(e));
}

}  // namespace caged::judgement
