// Events that agents report about themselves: kept, marked as reported, never taken as proof.
#include <algorithm>
#include <array>

#include "core/base/time.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

constexpr std::array<std::string_view, 8> known_types{"llm_call", "tool_call", "file_op", "command",
                                                      "network",  "error",     "lifecycle", "desktop"};

// The fact, or what is wrong with it.
result<event> fact_of(services* s, const call& c, const json& given) {
  const auto wrong = [](std::string message) {
    return fail(errc::invalid_argument, "bad_event", std::move(message), "See the operation's schema.", "/events");
  };
  const auto text = [&given](const char* key) {
    const auto found = given.find(key);
    return found != given.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (!given.is_object()) return wrong("an event is no object");
  const auto time = base::parse_time(text("timestamp"));
  if (!time) return wrong("an event has no timestamp in RFC 3339");
  std::string sandbox = text("sandbox_id"), session = text("session_id");
  if (sandbox.empty() && !session.empty()) {
    const auto* known = s->sessions->find(session);
    if (!known) return wrong("there is no session " + session);
    sandbox = known->sandbox_id;
  }
  auto box = s->sandboxes->find(sandbox);
  if (!box) return wrong("an event names no sandbox of this server");
  if (!c.who.sandbox_id.empty() && c.who.sandbox_id != sandbox) return wrong("an event is another sandbox's");
  if (session.empty()) session = (*box)->rec.session_id;
  const auto* known = s->sessions->find(session);
  if (!known || known->sandbox_id != sandbox) return wrong("the session is not the sandbox's");
  const std::string type = text("type");
  if (type.empty()) return wrong("an event has no type");
  event e;
  e.session_id = session;
  e.sandbox_id = sandbox;
  const bool is_known = std::find(known_types.begin(), known_types.end(), type) != known_types.end();
  e.type = is_known ? type : "other";
  e.time_us = base::now_us();  // when we were told; what the reporter claims stands beside it
  if (const auto took = given.find("duration_ns"); took != given.end() && took->is_number_unsigned())
    e.duration_us = static_cast<std::int64_t>(std::min<std::uint64_t>(took->get<std::uint64_t>() / 1000, INT64_MAX));
  if (const auto payload = given.find("payload"); payload != given.end() && payload->is_object()) e.data = *payload;
  // What only the host says must not be said by anybody else.
  for (const char* key : {"phase", "exit", "to", "from", "action", "witness", "arguments"}) e.data.erase(key);
  e.data["reported"] = true;
  e.data["source"] = "reported";
  e.data["reported_at"] = base::format_time(*time);
  if (!is_known) e.data["reported_type"] = type.substr(0, 100);
  for (const char* key : {"id", "process_id", "meta"})
    if (given.contains(key)) e.data["reported_" + std::string(key)] = given[key];
  return e;
}

task<reply> ingest(services* s, call c) {
  std::vector<event> events;
  std::size_t errors = 0;
  for (const json& given : c.arguments["events"]) {
    auto e = fact_of(s, c, given);
    if (e)
      events.push_back(std::move(*e));
    else
      ++errors;
  }
  const std::size_t accepted = events.size();
  if (accepted > 0) {
    std::vector<write> none;
    auto done = co_await s->journal->append(std::move(events), std::move(none));
    if (!done) co_return done.error();
  }
  co_return answer({{"accepted", accepted}, {"errors", errors}});
}

}  // namespace

void add_ingest_operations(services& s) {
  json events = list(json{{"type", "object"}}, "Each {type, timestamp, sandbox_id or session_id, duration_ns?, payload?, meta?}.");
  events["maxItems"] = 1000;
  auto info = declare("event.ingest", "POST", "/v1/events/ingest", scope::sandbox, "Report events of an agent",
                      input({{"events", std::move(events)}}, {"events"}),
                      output({{"accepted", count("Stored.")}, {"errors", count("Left out: no timestamp, no such sandbox …")}}));
  info.description =
      "At most 1000 events. They are stored with `reported: true`: they inform, but they are never evidence, and what "
      "they say about costs is not charged. Types that are not known become `other`.";
  s.operations->add_own(std::move(info), "", bind(s, ingest));
}

}  // namespace caged::operation
