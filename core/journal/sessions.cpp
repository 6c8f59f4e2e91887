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
  s.version = r.version;
  if (!r.body.is_object()) return s;
  s.sandbox_id = r.body.value("sandbox_id", std::string());
  s.status = r.body.value("status", std::string());
  s.agent_type = r.body.value("agent_type", std::string());
  s.model = r.body.value("model", std::string());
  s.started_us = r.body.value("started_us", std::int64_t{0});
  s.ended_us = r.body.value("ended_us", std::int64_t{0});
  return s;
}

write put(const session& s, std::uint64_t expected) {
  write w;
  w.kind = kind;
  w.id = s.id;
  w.body = to_body(s);
  w.expect_version = expected;
  return w;
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

task<session> sessions::complete(record r) {
  session s = from_record(r);
  auto head = co_await storage_.head(s.id);
  if (!head) co_return head.error();
  s.event_count = head->sequence;
  co_return s;
}

task<void> sessions::restore() {
  std::string after;
  while (true) {
    auto page = co_await storage_.list(kind, after, page_size);
    if (!page) co_return page.error();
    for (const auto& r : *page) {
      const session s = from_record(r);
      if (s.status == "active") journal_.set_current_session(s.sandbox_id, s.id);
    }
    if (page->size() < page_size) co_return result<void>{};
    after = page->back().id;
  }
}

task<session> sessions::start(std::string sandbox_id, std::string agent_type, std::string model) {
  session s;
  s.id = random_id("sess-", 12);
  s.sandbox_id = std::move(sandbox_id);
  s.status = "active";
  s.agent_type = std::move(agent_type);
  s.model = std::move(model);
  s.started_us = base::now_us();
  std::vector<event> events{note(s, "session_started")};
  std::vector<write> writes{put(s, 0)};
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  journal_.set_current_session(s.sandbox_id, s.id);
  s.version = 1;
  s.event_count = done->back().sequence;
  co_return s;
}

task<session> sessions::end(std::string id, session_end how) {
  auto found = co_await get(std::move(id));
  if (!found) co_return found.error();
  session s = std::move(*found);
  if (s.status != "active")
    co_return fail(errc::conflict, "session_ended", "the session " + s.id + " has ended already (" + s.status + ")",
                   "Start a new session.");
  s.status = how == session_end::failed ? "failed" : "completed";
  s.ended_us = base::now_us();
  std::vector<event> events{note(s, "session_ended")};
  std::vector<write> writes{put(s, s.version)};
  auto done = co_await journal_.append(std::move(events), std::move(writes));
  if (!done) co_return done.error();
  if (journal_.current_session(s.sandbox_id) == s.id) journal_.set_current_session(s.sandbox_id, "");
  ++s.version;
  s.event_count = done->back().sequence;
  co_return s;
}

task<session> sessions::get(std::string id) {
  auto found = co_await storage_.get(kind, id);
  if (!found) co_return found.error();
  if (!*found)
    co_return fail(errc::not_found, "session_not_found", "there is no session \"" + id + "\"",
                   "List sessions to see which there are.");
  co_return co_await complete(std::move(**found));
}

task<std::vector<session>> sessions::list(std::string sandbox_id, std::string after_id, std::size_t limit) {
  std::vector<session> out;
  while (out.size() < limit) {
    auto page = co_await storage_.list(kind, after_id, page_size);
    if (!page) co_return page.error();
    for (auto& r : *page) {
      if (out.size() == limit) break;
      if (!sandbox_id.empty() && from_record(r).sandbox_id != sandbox_id) continue;
      auto s = co_await complete(std::move(r));
      if (!s) co_return s.error();
      out.push_back(std::move(*s));
    }
    if (page->size() < page_size) break;
    after_id = page->back().id;
  }
  co_return out;
}

}  // namespace caged::journal
