// Sessions of agents: begun by the first call that acts, ended when the agent leaves or has been idle for long.
#include "core/base/time.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

constexpr auto farewell = std::chrono::seconds(2);

}  // namespace

task<void> manager::agent_at_work(std::shared_ptr<live> l, std::string agent) {
  l->agent_left = false;
  l->last_used = std::chrono::steady_clock::now();
  const auto* session = parts_.sessions->find(l->rec.session_id);
  const bool goes_on = !session || session->status == "active" || l->session_change;
  if (goes_on && session && session->agent_type.empty() && !agent.empty())
    co_return co_await parts_.sessions->recognise(session->id, std::move(agent));
  if (goes_on || l->rec.status != state::running) co_return result<void>{};
  const std::string before = l->rec.session_id;
  count_time(*l);  // until now it was the time of the session before
  l->session_change = parts_.sessions->draft(l->rec.id, std::move(agent));
  l->rec.session_id = l->session_change->id;  // at once: a second call meanwhile belongs to it
  json fact{{"phase", "session"}, {"action", "session_started"}, {"agent_type", l->session_change->agent_type}};
  auto saved = co_await save(l, "lifecycle", std::move(fact));
  if (!saved) {
    l->rec.session_id = before;
    co_return saved.error();
  }
  co_return result<void>{};
}

task<void> manager::end_idle_session(std::shared_ptr<live> l) {
  const auto* session = parts_.sessions->find(l->rec.session_id);
  if (!session || session->status != "active" || l->calls > 0 || !l->commands.empty()) co_return result<void>{};
  const auto idle = std::chrono::steady_clock::now() - l->last_used;
  const auto patience = l->agent_left ? farewell : parts_.config->session_idle;
  if (idle < patience) co_return result<void>{};
  l->agent_left = false;
  auto ended = co_await parts_.sessions->end(session->id, journal::session_end::completed);
  if (!ended) co_return ended.error();
  co_return result<void>{};
}

}  // namespace caged::sandbox
