#include "core/journal/sessions.hpp"

#include <algorithm>
#include <caged/random.hpp>

#include "core/base/time.hpp"

namespace caged::journal {
namespace {

constexpr const char* kind = "session";
constexpr std::size_t page_size = 1000;

json to_body(const session& s) {
  json j = json::object();
  j["id"] = s.id;
  j["sandbox_id"] = s.sandbox_id;
  j["status"] = s.status;
  j["agent_type"] = s.agent_type;
  j["model"] = s.model;
  j["started_us"] = s.started_us;
  j["ended_us"] = s.ended_us;
  return j;
}

session from_record(const record& r) {
  session s;
  s.id = r.id;
  if (!r.body.is_object()) return s;
  s.sandbox_id = r.body.value("sandbox_id", std::string());
  s.status = r.body.value("status", std::string());
  s.agent_type = r.body.value("agent_type", std::string());
  s.model = r.body.value("model", std::string());
  s.started_us = r.body.value("started_us", std::int64_t{0});
  s.ended_us = r.body.value("ended_us", std::int64_t{0});
  return s;
}

event note(const session& s, const char* action) {
  event e;
  e.session_id = s.id;
  e.sandbox_id = s.sandbox_id;
  e.type = "lifecycle";
  e.data["action"] = action;
  e.data["status"] = s.status;
  e.data["agent_type"] = s.agent_type;
  return e;
}

}  // namespace

json to_json(const session& s) {
  json j = to_body(s);
  j.erase("started_us");
  j.erase("ended_us");
  j["event_count"] = s.event_count;
  j["started_at"] = base::format_time(s.started_us);
  j["ended_at"] = s.ended_us == 0 ? json(nullptr) : json(base::format_time(s.ended_us));
  const std::int64_t until = s.ended_us == 0 ? base::now_us() : s.ended_us;
  j["duration_ms"] = std::max<std::int64_t>(0, until - s.started_us) / 1000;
  return j;
}

write sessions::put(const session& s) {
  write w;
  w.kind = kind;
  w.id = s.id;
  w.body = to_body(s);
  return w;
}

task<void> sessions::restore() {
  std::string after;
  std::vector<session> read;
  while (true) {
    auto page = co_await storage_.list(kind, after, page_size);
    if (!page) co_return page.error();
    for (const auto& r : *page) read.push_back(from_record(r));
    if (page->size() < page_size) break;
    after = page->back().id;
  }
  std::sort(read.begin(), read.end(), [](const session& a, const session& b) {
    return std::tie(a.started_us, a.id) < std::tie(b.started_us, b.id);
  });
  for (const auto& s : read) keep(s);
  co_return result<void>{};
}

session sessions::draft(std::string sandbox_id, std::string agent_type, std::string model) const {
  session s;
  s.id = random_id("sess-", 16);
  s.sandbox_id = std::move(sandbox_id);
  s.status = "active";
  s.agent_type = std::move(agent_type);
  s.model = std::move(model);
  s.started_us = base::now_us();
  return s;
}

void sessions::keep(const session& s) {
  const auto [known, is_new] = all_.insert_or_assign(s.id, s);
  if (is_new) {
    by_start_.push_back(s.id);
    by_sandbox_[s.sandbox_id].push_back(s.id);
  }
  if (s.status == "active")
    journal_.set_current_session(s.sandbox_id, s.id);
  else if (journal_.current_session(s.sandbox_id) == s.id)
    journal_.set_current_session(s.sandbox_id, "");
}

task<session> sessions::start(std::string sandbox_id, std::string agent_type, std::string model) {
  session s = draft(std::move(sandbox_id), std::move(agent_type), std::move(model));
  std::vector<event> events{note(s, "session_started")};
  std::vector<write> writes{put(s)};
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  keep(s);
  s.event_count = done->back().sequence;
  co_return s;
}

task<session> sessions::end(std::string id, session_end how) {
  const auto known = find(id);
  if (!known)
    co_return fail(errc::not_found, "session_not_found", "there is no session \"" + id + "\"",
                   "List sessions to see which there are.");
  session s = *known;
  if (s.status != "active")
    co_return fail(errc::conflict, "session_ended", "the session " + s.id + " has ended already (" + s.status + ")",
                   "Start a new session.");
  s.status = how == session_end::failed ? "failed" : "completed";
  s.ended_us = base::now_us();
  std::vector<event> events{note(s, "session_ended")};
  std::vector<write> writes{put(s)};
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  keep(s);
  s.event_count = done->back().sequence;
  co_return s;
}

task<void> sessions::recognise(std::string id, std::string agent_type) {
  const auto known = find(id);
  if (!known || known->agent_type == agent_type) co_return result<void>{};
  session s = *known;
  s.agent_type = std::move(agent_type);
  keep(s);  // before it is stored: nobody recognises it a second time meanwhile
  std::vector<event> events{note(s, "agent_recognised")};
  std::vector<write> writes{put(s)};
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  co_return result<void>{};
}

const session* sessions::find(const std::string& id) const {
  const auto found = all_.find(id);
  return found == all_.end() ? nullptr : &found->second;
}

task<session> sessions::get(std::string id) {
  const auto known = find(id);
  if (!known)
    co_return fail(errc::not_found, "session_not_found", "there is no session \"" + id + "\"",
                   "List sessions to see which there are.");
  session s = *known;
  auto head = co_await storage_.head(id);
  if (!head) co_return head.error();
  s.event_count = head->sequence;
  co_return s;
}

const std::vector<std::string>& sessions::order(const std::string& sandbox_id) const {
  static const std::vector<std::string> none;
  if (sandbox_id.empty()) return by_start_;
  const auto found = by_sandbox_.find(sandbox_id);
  return found == by_sandbox_.end() ? none : found->second;
}

std::size_t sessions::count(const std::string& sandbox_id) const { return order(sandbox_id).size(); }

std::vector<std::string> sessions::ended_before(std::int64_t time_us) const {
  std::vector<std::string> ids;
  for (const auto& id : by_start_) {
    const auto& s = all_.at(id);
    if (s.ended_us != 0 && s.ended_us < time_us) ids.push_back(id);
  }
  return ids;
}

task<std::vector<session>> sessions::page(std::string sandbox_id, std::size_t skip, std::size_t limit) {
  const auto& ids = order(sandbox_id);
  std::vector<std::string> wanted;
  for (std::size_t i = skip; i < ids.size() && wanted.size() < limit; ++i) wanted.push_back(ids[ids.size() - 1 - i]);
  std::vector<session> out;
  for (auto& id : wanted) {
    auto s = co_await get(std::move(id));
    if (!s && s.error().code == errc::not_found) continue;  // forgotten meanwhile
    if (!s) co_return s.error();
    out.push_back(std::move(*s));
  }
  co_return out;
}

task<void> sessions::forget(std::string id) {
  const auto known = find(id);
  if (!known) co_return result<void>{};
  batch b;
  for (const char* what : {kind, "trust"}) {
    write w;
    w.what = write::op::erase;
    w.kind = what;
    w.id = id;
    b.writes.push_back(std::move(w));
  }
  const std::string sandbox_id = known->sandbox_id;
  auto done = co_await storage_.commit(std::move(b));
  if (!done) co_return done.error();
  all_.erase(id);
  std::erase(by_start_, id);
  auto& of_box = by_sandbox_[sandbox_id];
  std::erase(of_box, id);
  if (of_box.empty()) by_sandbox_.erase(sandbox_id);
  co_return result<void>{};
}

}  // namespace caged::journal
