// Money: running time and egress become rows of usage, budgets are watched, and what is over one is paused or ended.
#include "core/base/time.hpp"
#include "core/meter/compute_price.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

// What the reference's plans allow. Hours are those of a calendar month; the paid plans pay for more of them.
struct plan {
  const char* name;
  std::size_t sandboxes;
  std::int64_t hours;  // 0 = any number
};
constexpr plan plans[] = {{"free", 2, 10}, {"pro", 10, 0}, {"team", 50, 0}, {"enterprise", 1'000'000, 0}};

constexpr std::int64_t hour_us = 3'600'000'000;

error plan_limit(const std::string& what) {
  return fail(errc::permission_denied, "plan_limit_reached", what, "Destroy sandboxes, or set another budgets.plan.");
}

}  // namespace

// In memory at once and for good: record and rows are stored together, with totals, by whatever is stored next. A fact
// that cannot be stored loses nothing, and one that is stored twice counts once.
void manager::count_time(live& l) {
  record& r = l.rec;
  const auto now = base::now_us();
  if (r.running_since_us != 0) {
    auto cost = compute_micro(r, r.running_since_us);
    for (const auto& [day, stretch] : meter::by_day(r.running_since_us, now)) {
      r.running_total_us += stretch;
      r.running_since_us += stretch;
      const auto after = compute_micro(r, r.running_since_us);
      parts_.usage->add_own(day, r.id, r.session_id, "compute", stretch, after - cost);
      cost = after;
    }
    r.running_since_us = now;  // also when the clock was set back: what comes is counted from here
  }
  const json network = network_status(r.id);
  if (!network.is_object()) return;
  const auto out = network.value("bytes_out", std::int64_t{0});
  const auto sent = out < l.egress_seen ? out : out - l.egress_seen;  // a gate that was opened anew begins at 0
  l.egress_seen = out;
  if (sent == 0) return;
  const auto before = egress_micro(r);
  r.egress_bytes += sent;
  parts_.usage->add_own(meter::day_of(now), r.id, r.session_id, "egress", sent, egress_micro(r) - before);
}

void manager::count_usage() {
  for (const auto& [id, l] : sandboxes_) count_time(*l);
}

// The record and its rows, without a fact: that time passes is none.
task<void> manager::write_down(std::shared_ptr<live> l) {
  count_time(*l);
  l->written_down = std::chrono::steady_clock::now();
  std::vector<write> writes;
  write put;
  put.kind = "sandbox";
  put.id = l->rec.id;
  put.body = to_stored(l->rec);
  writes.push_back(std::move(put));
  const auto rows = parts_.usage->take_unsaved(l->rec.id);
  for (const auto& row : rows) {
    write used;
    used.kind = "usage";
    used.id = row;
    used.body = meter::to_stored(parts_.usage->row(row));
    writes.push_back(std::move(used));
  }
  std::vector<event> none;
  auto done = co_await parts_.journal->append(std::move(none), std::move(writes));
  if (done) co_return result<void>{};
  parts_.usage->unsaved(l->rec.id, rows);
  parts_.log(log_level::error, "the usage of " + l->rec.id + " could not be stored: " + describe(done.error()));
  co_return done.error();
}

namespace {

struct account {
  std::string name;
  std::int64_t spent = 0, cap = 0;
};

std::vector<account> accounts_of(const live& l, const meter::usage_book& usage, const caps* budgets) {
  const record& r = l.rec;
  const auto now = base::now_us();
  std::vector<account> list{{"sandbox", spent_micro(r, now), r.budget_micro}};
  if (budgets == nullptr) return list;
  // What runs since it was counted last belongs to the session too.
  const auto open = open_micro(r, now);
  if (budgets->session > 0) list.push_back({"session", usage.session(r.session_id).total() + open, budgets->session});
  if (budgets->account > 0) list.push_back({"account", usage.total().total() + open, budgets->account});
  return list;
}

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> manager::over_budgets(const live& l) const {
  std::vector<std::pair<std::string, std::int64_t>> over;
  for (const auto& a : accounts_of(l, *parts_.usage, parts_.budgets))
    if (a.cap > 0 && a.spent >= a.cap) over.emplace_back(a.name, a.spent - a.cap);
  return over;
}

task<void> manager::check_budget(std::shared_ptr<live> l) {
  // Of many sandboxes each has an open stretch; all of them count for the account.
  if (parts_.budgets != nullptr && parts_.budgets->account > 0) count_time(*l);
  for (const auto& a : accounts_of(*l, *parts_.usage, parts_.budgets)) {
    if (a.cap <= 0 || l->rec.status != state::running) continue;
    const auto percent = a.spent >= a.cap ? 100 : a.spent * 100.0 / a.cap;
    const int reached = percent >= 100 ? 100 : percent >= 95 ? 95 : percent >= 80 ? 80 : 0;
    int& told = a.name == "sandbox" ? l->rec.budget_alert : l->told[a.name == "session" ? l->rec.session_id : a.name];
    if (reached > told) {
      told = reached;
      json fact{{"kind", reached == 100  ? "budget_exceeded"
                         : reached == 95 ? "budget_critical"
                                         : "budget_warning"},
                {"budget", a.name},
                {"percent", reached},
                {"spent_micro", a.spent},
                {"budget_micro", a.cap}};
      if (auto saved = co_await save(l, "alert", std::move(fact)); !saved) co_return saved.error();
    }
    if (reached < 100 || l->rec.status != state::running || std::exchange(l->at_limit, true)) continue;
    work_.spawn("the end of " + l->rec.id, end_for_budget(l, a.name));
  }
  co_return result<void>{};
}

bool manager::ends_paused(const live& l) const {
  return l.rec.on_budget.empty() ? parts_.config->budgets.pauses : l.rec.on_budget == "pause";
}

// Paused first: a snapshot takes time, which must cost nothing. Tried again by the clock when it fails.
asio::awaitable<void> manager::end_for_budget(std::shared_ptr<live> l, std::string budget) {
  const std::string id = l->rec.id;
  const bool pauses = ends_paused(*l);
  const bool keeps = parts_.config->budgets.final_snapshot;
  if ((pauses || keeps) && l->rec.status == state::running) {
    l->rec.held = "budget";  // stored with the change of state
    if (auto paused = co_await pause(id); !paused) {
      l->rec.held.clear();
      parts_.log(log_level::error, id + " is over its budget and could not be paused: " + describe(paused.error()));
      if (pauses) (void)co_await destroy(id, "budget_exceeded");  // spending on is not among the choices
      if (pauses) co_return;
    }
  }
  if (keeps) {
    json about{{"trigger", "budget"}, {"name", "final"}, {"description", "when the budget of the " + budget + " was spent"}};
    if (auto kept = co_await take_snapshot(id, std::move(about)); !kept)
      parts_.log(log_level::warn, "no final snapshot of " + id + ": " + describe(kept.error()));
  }
  if (!pauses)
    if (auto ended = co_await destroy(id, "budget_exceeded"); !ended)
      parts_.log(log_level::error, id + " is over its budget and could not be destroyed: " + describe(ended.error()));
  l->at_limit = false;
}

task<void> manager::settle_budgets() {
  for (const auto& l : all()) {
    l->told.clear();
    if (l->rec.status == state::running) (void)co_await check_budget(l);
    if (l->rec.held.empty() || l->rec.status != state::paused || !over_budgets(*l).empty()) continue;
    if (auto resumed = co_await resume(l->rec.id); !resumed) co_return resumed.error();
  }
  co_return result<void>{};
}

task<void> manager::plan_permits() const {
  if (parts_.budgets != nullptr && parts_.budgets->account > 0 && parts_.usage->total().total() >= parts_.budgets->account)
    co_return fail(errc::limit_exceeded, "budget_exhausted", "the account's budget is spent",
                   "Raise it: `caged billing budget --account DOLLARS`.");
  const std::string& name = parts_.config->budgets.plan;
  for (const auto& p : plans) {
    if (name != p.name) continue;
    if (alive() >= p.sandboxes)
      co_return plan_limit("the plan \"" + name + "\" allows " + std::to_string(p.sandboxes) + " sandboxes at a time");
    if (p.hours > 0 && parts_.usage->month_running_us(base::now_us()) >= p.hours * hour_us)
      co_return plan_limit("the plan \"" + name + "\" allows " + std::to_string(p.hours) + " hours a month, which are used up");
  }
  co_return result<void>{};
}

}  // namespace caged::sandbox
