// What happens to sandboxes by itself: adoption after a restart, the end of a box, idle time, budgets.
#include "core/base/time.hpp"
#include "core/runtime/deadline.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

constexpr std::size_t page = 1000;

bool has_box(state s) { return s == state::pending || s == state::running || s == state::paused; }

}  // namespace

task<void> manager::adopt_all() {
  const auto long_ago = base::now_us() - std::chrono::microseconds(parts_.config->retention.recent).count();
  std::string after;
  while (true) {
    auto rows = co_await parts_.records->list("sandbox", after, page);
    if (!rows) co_return rows.error();
    for (auto& row : *rows) {
      auto l = std::make_shared<live>(parts_.executor);
      l->rec = from_stored(row.body);
      after = row.id;
      if (l->rec.status == state::destroyed && l->rec.stopped_us < long_ago) continue;
      sandboxes_.emplace(l->rec.id, l);
    }
    if (rows->size() < page) break;
  }
  for (const auto& [name, backend] : parts_.backends) {
    // A set-up that was cut short cannot be continued: its box is swept like a stranger's.
    std::vector<std::string> known;
    for (const auto& [id, l] : sandboxes_)
      if (l->rec.backend == name && (l->rec.status == state::running || l->rec.status == state::paused))
        known.push_back(id);
    auto adopted = co_await backend->adopt(known);
    if (!adopted) co_return adopted.error();
    std::map<std::string, box_state> found;
    for (const auto& info : *adopted) found[info.id] = info.state;
    for (const auto& [id, l] : sandboxes_) {
      if (l->rec.backend != name || !has_box(l->rec.status)) continue;
      parts_.journal->set_current_session(id, l->rec.session_id);
      const auto box = found.find(id);
      if (box != found.end() && box->second != box_state::lost) {
        watch(l);
        if (auto opened = co_await open_network(l); !opened)
          parts_.log(log_level::error,
                     "the network of " + id + " could not be opened again: " + describe(opened.error()));
        json fact{{"phase", "adopted"}, {"message", "taken over after a restart of the server"}};
        if (auto noted = co_await note(l, "lifecycle", std::move(fact)); !noted) co_return noted.error();
        continue;
      }
      const bool was_pending = l->rec.status == state::pending;
      l->rec.running_since_us = 0;  // nobody knows how long it lived after its usage was last written down
      l->rec.ended_reason = was_pending ? "setup_interrupted" : "lost";
      l->rec.failure = fail(errc::unavailable, l->rec.ended_reason,
                            was_pending ? "the server stopped while this sandbox was being set up"
                                        : "the box was gone when the server started again",
                            "Make a new one with `caged up`.");
      json fact{{"phase", "error"}, {"reason", l->rec.ended_reason}};
      if (auto done = co_await become(l, state::error, std::move(fact)); !done) co_return done.error();
    }
  }
  co_return result<void>{};
}

void manager::watch(std::shared_ptr<live> l) {
  if (std::exchange(l->watched, true)) return;
  work_.spawn("watch of " + l->rec.id, watch_box(l));
}

// Waits for the end of a box that nobody asked for.
asio::awaitable<void> manager::watch_box(std::shared_ptr<live> l) {
  auto backend = backend_of(l->rec);
  if (!backend) co_return;
  const std::string id = l->rec.id;
  const unsigned mine = l->generation;
  auto end = co_await (*backend)->wait(id);
  const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
  if (cancelled != asio::cancellation_type::none) co_return;
  auto guard = co_await l->lifecycle.lock();
  if (mine != l->generation) co_return;  // another box has taken its place
  if (!has_box(l->rec.status)) co_return;  // it was destroyed, or set-up failed: already told
  const std::string reason = end ? end->reason : "lost";
  parts_.log(log_level::warn, "the box of " + id + " ended by itself: " + reason);
  l->rec.ended_reason = reason;
  const bool lost = !end || !end->waited || reason == "out_of_memory" || reason == "killed" || reason == "lost";
  if (lost)
    l->rec.failure = fail(reason == "out_of_memory" ? errc::limit_exceeded : errc::unavailable, reason,
                          "the sandbox ended by itself: " + reason,
                          reason == "out_of_memory" ? "Give it more memory." : "Make a new one with `caged up`.");
  (void)co_await (*backend)->destroy(id);  // what is left of it: folders, cgroups
  json fact{{"phase", lost ? "error" : "stopped"}, {"reason", reason}};
  (void)co_await become(l, l->rec.status == state::pending || lost ? state::error : state::stopped, std::move(fact));
}

asio::awaitable<void> manager::tick() {
  while (true) {
    co_await runtime::sleep_for(std::chrono::seconds(1));
    const auto cancelled = (co_await asio::this_coro::cancellation_state).cancelled();
    if (cancelled != asio::cancellation_type::none) co_return;
    for (const auto& l : all()) {
      if (l->rec.status == state::running) co_await tick_one(l);
      // The server ended between its pause and what was to follow.
      if (l->rec.status == state::paused && !l->rec.held.empty() && !ends_paused(*l) && !std::exchange(l->at_limit, true))
        work_.spawn("the end of " + l->rec.id, end_for_budget(l, "sandbox"));
    }
  }
}

asio::awaitable<void> manager::tick_one(std::shared_ptr<live> l) {
  (void)co_await check_budget(l);
  if (l->rec.status == state::running && std::chrono::steady_clock::now() - l->written_down > parts_.config->budgets.interval)
    (void)co_await write_down(l);
  (void)co_await end_idle_session(l);
  if (l->rec.status != state::running || l->calls > 0 || l->rec.timeout_s == 0) co_return;
  const auto idle = std::chrono::steady_clock::now() - l->last_used;
  if (idle < std::chrono::seconds(l->rec.timeout_s)) co_return;
  l->last_used = std::chrono::steady_clock::now();  // asked again after another idle time, should it fail
  json fact{{"phase", "idle"}, {"idle_seconds", l->rec.timeout_s}};
  (void)co_await note(l, "lifecycle", std::move(fact));
  auto paused = co_await pause(l->rec.id);
  // Not here: copying may take long, and the clock is everybody's.
  if (paused && parts_.config->snapshots.on_idle) work_.spawn("snapshot of " + l->rec.id, keep_idle(l));
  if (!paused) {
    parts_.log(log_level::warn, "idle sandbox " + l->rec.id + " could not be paused: " + describe(paused.error()));
    json told{{"phase", "idle"}, {"message", "could not be paused: " + paused.error().message}};
    (void)co_await note(l, "error", std::move(told));
  }
}

}  // namespace caged::sandbox
