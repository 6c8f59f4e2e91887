// Reading the journal: live streams, logs, sessions and replay. None of them keeps a second truth.
#include "core/base/time.hpp"
#include "core/journal/canonical.hpp"
#include "core/operation/families.hpp"
#include "core/policy/event_catalogue.hpp"
#include "core/operation/schema.hpp"
#include "core/sandbox/purse.hpp"

namespace caged::operation {
namespace {

using namespace schema;

result<std::optional<std::uint64_t>> resume_point(const call& c) {
  if (c.arguments.contains("after")) return std::optional(c.arguments["after"].get<std::uint64_t>());
  if (c.resume_after.empty()) return std::optional<std::uint64_t>();
  if (c.resume_after.size() > 18 || c.resume_after.find_first_not_of("0123456789") != std::string::npos)
    return fail(errc::invalid_argument, "bad_event_id", "Last-Event-ID \"" + c.resume_after + "\" is no event id",
                "Send the id of an event, or none.");
  return std::optional(static_cast<std::uint64_t>(std::stoull(c.resume_after)));
}

task<reply> follow(services* s, call c) {
  journal::follow_query q;
  auto after = resume_point(c);
  if (!after) co_return after.error();
  q.after_id = *after;
  q.sandbox_id = c.arguments.value("id", "");
  q.types = c.arguments.value("type", std::vector<std::string>());
  if (!q.sandbox_id.empty())
    if (auto known = co_await s->sandboxes->recall(q.sandbox_id); !known) co_return known.error();
  reply r;
  r.items = s->journal->follow(std::move(q));
  co_return r;
}

// One line for people from a fact.
json log_line(const event& e) {
  const json& d = e.data;
  std::string message = d.value("message", "");
  if (message.empty() && e.type == "lifecycle") {
    message = d.value("phase", d.value("operation", ""));
    if (d.contains("to")) message += " (" + d.value("from", "") + " → " + d.value("to", "") + ")";
    if (d.contains("reason")) message += ": " + d["reason"].get<std::string>();
  }
  if (message.empty() && e.type == "command") {
    const std::string what = d.contains("command") ? d["command"].get<std::string>() : d.value("argv", json()).dump();
    // What the host saw a process do stands beside what was asked for through the API.
    message = (d.value("source", "") == "exec" ? "seen " : "") + d.value("phase", "") + " " + what;
    const json end = d.value("exit", d);
    for (const char* how : {"exit_code", "signal"})
      if (end.contains(how) && !end[how].is_null()) message += " → " + end[how].dump();
  }
  if (message.empty()) message = d.dump();
  json line{{"timestamp", base::format_time(e.time_us)}, {"type", e.type}, {"message", message}};
  for (const char* stream : {"stdout", "stderr"})
    if (d.contains(stream) && !d[stream].get_ref<const std::string&>().empty()) line[stream] = d[stream];
  return line;
}

const std::vector<std::string> log_types{"lifecycle", "command", "error", "alert"};

task<reply> logs(services* s, call c) {
  const auto id = c.arguments["id"].get<std::string>();
  if (auto known = co_await s->sandboxes->recall(id); !known) co_return known.error();
  event_query q;
  q.sandbox_id = id;
  q.types = log_types;
  q.limit = static_cast<std::size_t>(c.arguments.value("tail", 100));
  q.newest_first = true;
  auto rows = co_await s->journal->read(std::move(q));
  if (!rows) co_return rows.error();
  json lines = json::array();
  for (auto row = rows->rbegin(); row != rows->rend(); ++row) lines.push_back(log_line(*row));
  co_return answer(std::move(lines));
}

// A follower's items as log lines.
class log_items : public item_source {
 public:
  explicit log_items(std::shared_ptr<item_source> events) : events_(std::move(events)) {}
  task<std::optional<stream_item>> next() override {
    auto item = co_await events_->next();
    if (!item || !*item) co_return item;
    event e;
    e.type = (**item).event;
    e.data = (**item).data.value("data", json::object());
    auto time = base::parse_time((**item).data.value("timestamp", (**item).data.value("time", "")));
    e.time_us = time ? *time : base::now_us();
    (**item).data = log_line(e);
    (**item).event = "log";
    co_return item;
  }

 private:
  std::shared_ptr<item_source> events_;
};

task<reply> log_stream(services* s, call c) {
  c.arguments["type"] = log_types;
  auto r = co_await follow(s, std::move(c));
  if (!r) co_return r.error();
  r->items = std::make_shared<log_items>(r->items);
  co_return r;
}

// Tokens and costs of a session, and the model that cost most.
void add_use(const meter::usage_book& usage, json& session) {
  std::int64_t in = 0, out = 0, most = -1;
  const auto id = session["id"].get<std::string>();
  for (const auto* row : usage.rows_of_session(id)) {
    if (!row->is_model()) continue;
    in += row->input + row->cache_read + row->cache_write;
    out += row->output;
    if (row->cost_micro > most) session["model"] = row->model;
    most = std::max(most, row->cost_micro);
  }
  const auto sum = usage.session(id);
  const auto dollars = [](std::int64_t micro) { return static_cast<double>(micro) / 1e6; };
  session["tokens_in"] = in;
  session["tokens_out"] = out;
  session["llm_cost"] = dollars(sum.model_micro);
  session["compute_cost"] = dollars(sum.compute_micro + sum.egress_micro);
  session["total_cost"] = dollars(sum.total());
  session["cost_usd"] = session["total_cost"];
}

// A session as the API shows it.
json session_body(services* s, const journal::session& one) {
  json body = journal::to_json(one);
  body.erase("version");
  const auto score = s->judge->score(one.id);
  body["persona_id"] = nullptr;
  body["agent_type"] = one.agent_type.empty() ? json(nullptr) : json(one.agent_type);
  body["model"] = one.model.empty() ? json(nullptr) : json(one.model);
  body["trust_score"] = score ? json(*score) : json(nullptr);
  add_use(s->purses->usage(), body);
  return body;
}

task<json> with_trust(services* s, json body) {
  if (!body["trust_score"].is_null()) co_return body;
  auto shown = co_await s->judge->recorded_trust(body["id"].get<std::string>(), body["sandbox_id"].get<std::string>());
  if (!shown) co_return shown.error();
  body["trust_score"] = (*shown)["score"];
  co_return body;
}

task<json> session_page(services* s, std::string sandbox, std::size_t skip, std::size_t limit) {
  s->sandboxes->count_usage();
  auto page = co_await s->sessions->page(std::move(sandbox), skip, limit);
  if (!page) co_return page.error();
  json rows = json::array();
  for (const auto& one : *page) {
    auto row = co_await with_trust(s, session_body(s, one));
    if (!row) co_return row.error();
    rows.push_back(std::move(*row));
  }
  co_return rows;
}

task<reply> sandbox_sessions(services* s, call c) {
  const auto id = c.arguments["id"].get<std::string>();
  if (auto found = co_await s->sandboxes->recall(id); !found) co_return found.error();
  auto rows = co_await session_page(s, id, 0, 1000);
  if (!rows) co_return rows.error();
  co_return answer(std::move(*rows));
}

task<reply> list_sessions(services* s, call c) {
  const std::size_t page = c.arguments.value("page", 1), per_page = c.arguments.value("per_page", 20);
  const std::size_t total = s->sessions->count({});
  auto rows = co_await session_page(s, {}, (page - 1) * per_page, per_page);
  if (!rows) co_return rows.error();
  json pages{
      {"page", page}, {"per_page", per_page}, {"total", total}, {"total_pages", (total + per_page - 1) / per_page}};
  co_return answer({{"data", std::move(*rows)}, {"pagination", std::move(pages)}});
}

// A key of one sandbox sees the sessions of no other.
result<void> check_session(services* s, const call& c) {
  const auto id = c.arguments["session"].get<std::string>();
  const auto* one = s->sessions->find(id);
  if (!one)
    return fail(errc::not_found, "session_not_found", "there is no session \"" + id + "\"",
                "List them: GET /v1/sessions.", "/session");
  return {};
}

task<reply> get_session(services* s, call c) {
  if (auto known = check_session(s, c); !known) co_return known.error();
  s->sandboxes->count_usage();
  auto one = co_await s->sessions->get(c.arguments["session"].get<std::string>());
  if (!one) co_return one.error();
  auto row = co_await with_trust(s, session_body(s, *one));
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> replay(services* s, call c) {
  event_query q;
  q.session_id = c.arguments["session"].get<std::string>();
  if (auto known = check_session(s, c); !known) co_return known.error();
  q.after_sequence = c.arguments.value("after_seq", std::uint64_t{0});
  q.types = c.arguments.value("type", std::vector<std::string>());
  const std::size_t limit = c.arguments.value("limit", std::size_t{100});
  q.limit = limit + 1;  // one more tells whether there is more
  event_query whole;
  whole.session_id = q.session_id;
  whole.types = q.types;
  auto rows = co_await s->journal->read(std::move(q));
  if (!rows) co_return rows.error();
  auto total = co_await s->records->count_events(std::move(whole));
  if (!total) co_return total.error();
  const bool more = rows->size() > limit;
  if (more) rows->resize(limit);
  json events = json::array();
  for (const auto& e : *rows)
    events.push_back({{"id", e.id},
                      {"session_id", e.session_id},
                      {"sequence", e.sequence},
                      {"type", e.type},
                      {"timestamp", base::format_time(e.time_us)},
                      {"duration_ms", static_cast<double>(e.duration_us) / 1000.0},
                      {"data", e.data},
                      {"hash", e.hash}});
  json body{{"events", std::move(events)}, {"has_more", more}, {"total", *total}};
  body["next_seq"] = rows->empty() ? c.arguments.value("after_seq", std::uint64_t{0}) : rows->back().sequence;
  co_return answer(std::move(body));
}

// Facts of the catalogue, and what agents may report.
const std::set<std::string>& known_types() {
  static const std::set<std::string> all = [] {
    std::set<std::string> names{"llm_call", "tool_call", "file_op", "command", "network", "error", "lifecycle",
                                "desktop",  "other",     "trust",   "alert",   "approval", "policy_error", "terminal"};
    for (const auto& type : policy::event_types())
      if (!type.gate) names.emplace(type.name);
    return names;
  }();
  return all;
}

task<reply> replay_summary(services* s, call c) {
  const auto session = c.arguments["session"].get<std::string>();
  if (auto known = check_session(s, c); !known) co_return known.error();
  json types = json::object();
  std::uint64_t count = 0;
  std::int64_t first = 0, last = 0;
  // The first and the last event, and the kept counts: a million events cost what ten do.
  for (const bool newest : {false, true}) {
    event_query q;
    q.session_id = session;
    q.limit = 1;
    q.newest_first = newest;
    auto rows = co_await s->journal->read(std::move(q));
    if (!rows) co_return rows.error();
    if (!rows->empty()) (newest ? last : first) = rows->front().time_us;
  }
  for (const auto& type : known_types()) {
    event_query q;
    q.session_id = session;
    q.types = {type};
    auto some = co_await s->records->count_events(std::move(q));
    if (!some) co_return some.error();
    if (*some > 0) types[type] = *some;
    count += *some;
  }
  event_query whole;
  whole.session_id = session;
  auto total = co_await s->records->count_events(std::move(whole));
  if (!total) co_return total.error();
  if (*total > count) types["other"] = types.value("other", std::uint64_t{0}) + (*total - count);
  count = *total;
  json body{{"session_id", session},
            {"event_count", count},
            {"duration_ms", (last - first) / 1000},
            {"types", std::move(types)}};
  body["start_time"] = count ? json(base::format_time(first)) : json(nullptr);
  body["end_time"] = count ? json(base::format_time(last)) : json(nullptr);
  co_return answer(std::move(body));
}

task<reply> verify(services* s, call c) {
  auto found = co_await s->journal->verify(c.arguments["session"].get<std::string>());
  if (!found) co_return found.error();
  json body{{"session_id", c.arguments["session"]},
            {"events", found->events},
            {"head", found->head},
            {"dropped", found->dropped},
            {"intact", !found->broken},
            {"broken", nullptr}};
  if (found->broken)
    body["broken"] = {
        {"sequence", found->broken->sequence}, {"event_id", found->broken->event_id}, {"what", found->broken->what}};
  co_return answer(std::move(body));
}

}  // namespace

void add_event_operations(services& s) {
  const auto own = [&s](operation_info info, family_handler handler) {
    s.operations->add_own(std::move(info), "", bind(s, handler));
  };
  const json object{{"type", "object"}};
  const json types = list(text("Type."), "Only these types."),
             after{{"type", "integer"},
                   {"minimum", 0},
                   {"description", "Only events after this id; without it, only new ones."}};
  const json session{{"type", "string"}, {"description", "Id of the session."}, {"minLength", 1}, {"maxLength", 64}};
  const json box = schema::input({{"id", sandbox_id()}}, {"id"}),
             one = schema::input({{"session", session}}, {"session"});

  auto info = declare("event.follow", "GET", "/v1/events", scope::read,
                      "Show the journal of all sandboxes: every recorded fact, and what comes",
                      schema::input({{"after", after}, {"type", types}}), object);
  info.gives = payload::items;
  own(std::move(info), follow);
  info = declare("sandbox.events", "GET", "/v1/sandboxes/{id}/events", scope::read, "Events of a sandbox, live",
                 schema::input({{"id", sandbox_id()}, {"after", after}, {"type", types}}, {"id"}), object);
  info.description =
      "Every fact about the sandbox, in order, each with an id; Last-Event-ID or `after` resumes without a gap.";
  info.gives = payload::items;
  own(std::move(info), follow);
  own(declare("sandbox.logs", "GET", "/v1/sandboxes/{id}/logs", scope::read,
              "Show what happened to a sandbox, line by line",
              schema::input({{"id", sandbox_id()}, {"tail", integer("Lines; 100 by default.", 1, 10000)}}, {"id"}),
              list(object)),
      logs);
  info = declare("sandbox.log_stream", "GET", "/v1/sandboxes/{id}/logs/stream", scope::read, "The same, live",
                 schema::input({{"id", sandbox_id()}, {"after", after}}, {"id"}), object);
  info.gives = payload::items;
  own(std::move(info), log_stream);
  own(declare("sandbox.sessions", "GET", "/v1/sandboxes/{id}/sessions", scope::read, "Sessions of a sandbox", box,
              list(object)),
      sandbox_sessions);
  own(declare(
          "session.list", "GET", "/v1/sessions", scope::read, "Sessions, newest first",
          schema::input({{"page", integer("From 1.", 1, 1000000)}, {"per_page", integer("20 by default.", 1, 100)}}),
          object),
      list_sessions);
  own(declare("session.get", "GET", "/v1/sessions/{session}", scope::read, "Show a session", one, object), get_session);
  own(declare("session.replay", "GET", "/v1/sessions/{session}/replay", scope::read, "A page of a session's events",
              schema::input({{"session", session},
                             {"after_seq", count("Only events after this sequence.")},
                             {"limit", integer("100 by default.", 1, 1000)},
                             {"type", types}},
                            {"session"}),
              object),
      replay);
  own(declare("session.replay_summary", "GET", "/v1/sessions/{session}/replay/summary", scope::read,
              "What a session holds, counted", one, object),
      replay_summary);
  own(declare("session.verify", "GET", "/v1/sessions/{session}/verify", scope::read, "Check a session's hash chain",
              one, object),
      verify);
}

}  // namespace caged::operation
