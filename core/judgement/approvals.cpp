#include "core/judgement/approvals.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <caged/random.hpp>

#include "core/base/time.hpp"

namespace caged::judgement {
namespace {

constexpr const char* kind = "approval";

error unknown(const std::string& id) {
  return fail(errc::not_found, "approval_not_found", "there is no approval \"" + id + "\"", "List them: `caged approvals`.",
              "/approval");
}

}  // namespace

// The record and its event in one commit.
task<void> approvals::save(json row) {
  event e;
  e.type = "approval";
  e.sandbox_id = row.value("sandbox_id", "");
  e.session_id = row.value("session_id", "");
  if (e.session_id.empty()) e.session_id = journal::host_session;
  e.time_us = base::now_us();
  e.data = row;
  write w;
  w.kind = kind;
  w.id = row["id"].get<std::string>();
  w.body = std::move(row);
  std::vector<event> events;
  events.push_back(std::move(e));
  std::vector<write> writes;
  writes.push_back(std::move(w));
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  co_return result<void>{};
}

task<void> approvals::restore() {
  std::string after;
  while (true) {
    auto page = co_await records_.list(kind, after, 1000);
    if (!page) co_return page.error();
    for (auto& r : *page) {
      after = r.id;
      if (r.body.value("state", "") != "pending") continue;
      r.body["state"] = "expired";
      r.body["decided_at"] = base::format_time(base::now_us());
      r.body["note"] = "the server ended before anybody decided";
      json row = r.body;
      if (auto saved = co_await save(std::move(row)); !saved) co_return saved.error();
    }
    if (page->size() < 1000) co_return result<void>{};
  }
}

task<bool> approvals::decide(event question, policy::verdict asked, subject who) {
  if (open_.size() >= most_open) co_return false;
  const auto now = base::now_us();
  auto q = std::make_shared<open_question>(executor_, patience_);
  q->row = {{"id", random_id("appr-", 16)},
            {"state", "pending"},
            {"gate", question.type},
            {"data", question.data},
            {"reason", asked.reason},
            {"rule", asked.rule},
            {"policy", asked.policy},
            {"advice", asked.advice},
            {"sandbox_id", who.sandbox_id},
            {"session_id", who.session_id},
            {"account", who.account},
            {"created_at", base::format_time(now)},
            {"expires_at", base::format_time(now + std::chrono::microseconds(patience_).count())},
            {"decided_at", nullptr},
            {"decided_by", nullptr},
            {"note", nullptr}};
  const std::string id = q->row["id"].get<std::string>();
  open_[id] = q;
  json first = q->row;
  auto saved = co_await save(std::move(first));
  if (saved && q->row["state"] == "pending")
    co_await q->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  const bool decided = q->row["state"] != "pending";
  open_.erase(id);
  if (!saved) co_return saved.error();
  if (decided) co_return q->row["state"] == "approved";
  // The time is over, or who asked went away: both are a no.
  q->row["state"] = "expired";
  q->row["decided_at"] = base::format_time(base::now_us());
  json last = q->row;
  (void)co_await save(std::move(last));
  co_return false;
}

task<std::vector<json>> approvals::list(std::string state, std::size_t limit) {
  std::vector<json> rows;
  std::string after;
  while (true) {
    auto page = co_await records_.list(kind, after, 1000);
    if (!page) co_return page.error();
    for (auto& r : *page) {
      after = r.id;
      if (state.empty() || r.body.value("state", "") == state) rows.push_back(std::move(r.body));
    }
    if (page->size() < 1000) break;
  }
  std::sort(rows.begin(), rows.end(),
            [](const json& a, const json& b) { return a.value("created_at", "") > b.value("created_at", ""); });
  if (rows.size() > limit) rows.resize(limit);
  co_return rows;
}

task<json> approvals::get(std::string id) {
  auto found = co_await records_.get(kind, id);
  if (!found) co_return found.error();
  if (!*found) co_return unknown(id);
  co_return (*found)->body;
}

task<json> approvals::answer(std::string id, std::string state, std::string by, std::string note) {
  const auto found = open_.find(id);
  if (found == open_.end() || found->second->row["state"] != "pending") {
    auto known = co_await get(id);
    if (!known) co_return known.error();
    co_return fail(errc::conflict, "approval_decided",
                   "the approval " + id + " is " + (*known).value("state", "decided") + " already",
                   "Nobody waits for it any more; let the agent ask again.");
  }
  auto q = found->second;
  q->row["state"] = state;
  q->row["decided_at"] = base::format_time(base::now_us());
  q->row["decided_by"] = by;
  if (!note.empty()) q->row["note"] = note;
  json row = q->row;
  // Written before the caller goes on: what was allowed stands in the journal before it happens.
  if (auto saved = co_await save(std::move(row)); !saved) {
    q->row["state"] = "denied";
    q->timer.cancel();
    co_return saved.error();
  }
  q->timer.cancel();
  co_return q->row;
}

}  // namespace caged::judgement
