// What is done from time to time: billing plugins get the usage, and what may be forgotten is.
#include <boost/asio/use_future.hpp>

#include "core/app/server.hpp"
#include "core/base/log.hpp"
#include "core/base/time.hpp"
#include "core/journal/retention.hpp"
#include "core/runtime/deadline.hpp"

namespace caged::app {

housekeeping::housekeeping(parts p)
    : parts_(std::move(p)), work_(parts_.executor, [this](std::string_view name, std::string_view what) {
        parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
      }) {}

asio::awaitable<void> housekeeping::start() {
  if (parts_.reporter->has_providers()) work_.spawn("billing", bill());
  work_.spawn("retention", forget());
  co_return;
}

asio::awaitable<void> housekeeping::stop() {
  work_.cancel();
  co_await work_.join();
}

asio::awaitable<void> housekeeping::bill() {
  while (true) {
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    (void)co_await parts_.reporter->round();  // it logs what failed, and hands it over in the next round
    co_await runtime::sleep_for(parts_.config->budgets.interval);
  }
}

asio::awaitable<void> housekeeping::forget() {
  const auto& rules = parts_.config->retention;
  while (true) {
    co_await runtime::sleep_for(rules.interval);
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    parts_.sandboxes->let_go(base::now_us() - std::chrono::microseconds(rules.recent).count());
    result<void> done;
    if (rules.events_age.count() > 0) done = co_await forget_events();
    if (done && rules.events_most > 0) done = co_await forget_beyond();
    if (done && rules.destroyed_age.count() > 0) done = co_await forget_destroyed();
    if (!done) parts_.log(log_level::error, "retention: " + describe(done.error()));
  }
}

task<void> housekeeping::forget_events() {
  const auto until = base::now_us() - std::chrono::microseconds(parts_.config->retention.events_age).count();
  auto ids = parts_.sessions->ended_before(until);
  ids.push_back(journal::host_session);
  for (const auto& id : ids) {
    if (cut_.contains(id)) continue;
    auto dropped = co_await journal::drop_before(parts_.journal, parts_.records, id, until);
    if (!dropped) co_return dropped.error();
    if (id != journal::host_session) cut_.insert(id);
  }
  co_return result<void>{};
}

// Of the oldest sessions first. What runs is never touched: its agent may still be asked about it.
task<void> housekeeping::forget_beyond() {
  const auto most = parts_.config->retention.events_most;
  event_query all;
  auto count = co_await parts_.records->count_events(std::move(all));
  if (!count) co_return count.error();
  const auto ids = parts_.sessions->ended_before(base::now_us());
  for (const auto& id : ids) {
    if (*count <= most) break;
    if (cut_.contains(id)) continue;
    auto dropped = co_await journal::drop_before(parts_.journal, parts_.records, id, INT64_MAX);
    if (!dropped) co_return dropped.error();
    *count -= std::min(*count, *dropped);
    cut_.insert(id);
  }
  co_return result<void>{};
}

task<void> housekeeping::forget_destroyed() {
  const auto until = base::now_us() - std::chrono::microseconds(parts_.config->retention.destroyed_age).count();
  std::string after;
  while (true) {
    auto page = co_await parts_.records->list("sandbox", after, 1000);
    if (!page) co_return page.error();
    for (const auto& row : *page) {
      after = row.id;
      const auto r = sandbox::from_stored(row.body);
      if (r.status != sandbox::state::destroyed || r.stopped_us >= until) continue;
      if (auto done = co_await forget_sandbox(r.id); !done) co_return done.error();
    }
    if (page->size() < 1000) break;
  }
  parts_.sandboxes->let_go(until);
  co_return result<void>{};
}

// Its sessions, their events and trust, then its record. What it cost stays in the books.
task<void> housekeeping::forget_sandbox(std::string id) {
  const auto erase = [](const char* kind, std::string name) {
    write w;
    w.what = write::op::erase;
    w.kind = kind;
    w.id = std::move(name);
    return w;
  };
  auto sessions = parts_.sessions->of_sandbox(id);
  sessions.push_back(id);  // facts that came when no session was current
  for (const auto& session : sessions) {
    std::vector<write> writes;
    writes.push_back(erase("session", session));
    writes.push_back(erase("trust", session));
    if (auto done = co_await journal::drop_session(parts_.journal, session, std::move(writes)); !done)
      co_return done.error();
    if (auto done = co_await parts_.sessions->forget(session); !done) co_return done.error();
    cut_.erase(session);
  }
  batch b;
  b.writes.push_back(erase("sandbox", id));
  co_return co_await parts_.records->commit(std::move(b));
}

void server::open_billing() {
  meter::reporter::parts billing;
  billing.book = &purses_.book();
  billing.log = [](log_level level, std::string message) { base::log(level, "meter", message); };
  for (const auto& p : plugins_->list())
    if (p.kind == "billing" && p.at == plugins::stage::open)
      billing.providers[p.name] = plugins_->find<billing_provider>(p.name);
  reporter_.connect(std::move(billing));
  housekeeping::parts parts;
  parts.executor = loop_.executor();
  parts.config = &config_;
  parts.sandboxes = sandboxes_.get();
  parts.reporter = &reporter_;
  parts.journal = journal_.get();
  parts.sessions = sessions_.get();
  parts.records = services_.records;
  parts.log = [](log_level level, std::string message) { base::log(level, "housekeeping", message); };
  housekeeping_ = std::make_unique<housekeeping>(std::move(parts));
  asio::co_spawn(loop_.executor(), housekeeping_->start(), asio::use_future).get();
}

}  // namespace caged::app
