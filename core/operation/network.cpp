// What a sandbox may reach, what it reached, and why something was refused.
#include <set>

#include "core/base/time.hpp"
#include "core/network/address.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

constexpr std::size_t page = 10'000;

// All network events of a session, oldest first, given to `take`.
task<void> each_event(services* s, std::string session, std::function<void(const event&)> take) {
  if (auto stored = co_await s->journal->flush(); !stored) co_return stored.error();
  std::uint64_t after = 0;
  while (true) {
    event_query q;
    q.session_id = session;
    q.types = {"network"};
    q.after_sequence = after;
    q.limit = page;
    auto rows = co_await s->journal->read(std::move(q));
    if (!rows) co_return rows.error();
    for (const auto& e : *rows) {
      after = e.sequence;
      take(e);
    }
    if (rows->size() < page) co_return result<void>{};
  }
}

// The allow-list entry that would let this connection through.
std::string entry_for(const json& fact) {
  const std::string host = fact.value("host", ""), address = fact.value("address", "");
  const int port = fact.value("port", 0);
  const bool usual = port == 443 || port == 80 || fact.value("operation", "") == "dns";
  const std::string tail = usual ? std::string() : ":" + std::to_string(port);
  if (!host.empty()) return host + tail;
  const auto ip = network::parse_address(address);
  if (!ip) return {};
  return (ip->is_v6() && !usual ? "[" + address + "]" : address) + tail;
}

json row_of(const event& e) {
  json row = e.data;
  row["id"] = e.id;
  row["time"] = base::format_time(e.time_us);
  row["duration_ms"] = static_cast<double>(e.duration_us) / 1000.0;
  return row;
}

task<reply> get(services* s, call c) {
  auto found = s->sandboxes->find(c.arguments["id"].get<std::string>());
  if (!found) co_return found.error();
  const auto r = (*found)->rec;
  auto needed = std::make_shared<std::set<std::string>>();
  auto note = [needed](const event& e) {
    if (e.data.value("operation", "") != "connect" || e.data.value("verdict", "") != "allow") return;
    if (auto entry = entry_for(e.data); !entry.empty()) needed->insert(std::move(entry));
  };
  auto read = co_await each_event(s, r.session_id, std::move(note));
  if (!read) co_return read.error();
  json body{
      {"network_mode", r.network_mode},   {"allowlist", r.allowlist}, {"network_rate", r.network_rate},
      {"network_bytes", r.network_bytes}, {"proposed", *needed},      {"counters", s->sandboxes->network_status(r.id)}};
  co_return answer(std::move(body));
}

task<reply> log(services* s, call c) {
  auto found = s->sandboxes->find(c.arguments["id"].get<std::string>());
  if (!found) co_return found.error();
  const std::string verdict = c.arguments.value("verdict", "");
  const std::size_t limit = c.arguments.value("limit", std::size_t{200});
  auto rows = std::make_shared<std::deque<json>>();
  auto take = [rows, verdict, limit](const event& e) {
    if (!verdict.empty() && e.data.value("verdict", "") != verdict) return;
    rows->push_back(row_of(e));
    if (rows->size() > limit) rows->pop_front();
  };
  auto read = co_await each_event(s, (*found)->rec.session_id, std::move(take));
  if (!read) co_return read.error();
  json body = json::array();
  for (auto& row : *rows) body.push_back(std::move(row));
  co_return answer(std::move(body));
}

// One row for each destination and rule, with how often and what to do.
task<reply> why(services* s, call c) {
  auto found = s->sandboxes->find(c.arguments["id"].get<std::string>());
  if (!found) co_return found.error();
  const std::string host = c.arguments.value("host", "");
  auto refusals = std::make_shared<std::map<std::string, json>>();
  auto take = [refusals, host](const event& e) {
    const json& d = e.data;
    if (d.value("verdict", "") != "deny") return;
    if (!host.empty() && d.value("host", "") != host && d.value("address", "") != host) return;
    json& row = (*refusals)[d.value("rule", "") + " " + entry_for(d)];
    const int count = row.is_null() ? 0 : row["count"].get<int>();
    row = json::object();
    for (const char* key : {"host", "address", "rule", "reason", "advice"}) row[key] = d.value(key, "");
    row["port"] = d.value("port", 0);
    row["last"] = base::format_time(e.time_us);
    row["count"] = count + 1;
  };
  auto read = co_await each_event(s, (*found)->rec.session_id, std::move(take));
  if (!read) co_return read.error();
  json rows = json::array();
  for (auto& [key, row] : *refusals) rows.push_back(std::move(row));
  co_return answer(std::move(rows));
}

void add(services& s, operation_info info, family_handler handler) {
  s.operations->add_own(std::move(info), "", bind(s, handler));
}

}  // namespace

void add_network_operations(services& s) {
  const json entry{{"type", "object"}};
  auto info =
      declare("network.get", "GET", "/v1/sandboxes/{id}/network", scope::read,
              "Show what a sandbox may reach and what it needed", input({{"id", sandbox_id()}}, {"id"}),
              output({{"network_mode", text("full, allowlist, learn or none.")},
                      {"allowlist", list(text("Host."))},
                      {"network_rate", count("Most bytes a second; 0: no limit.")},
                      {"network_bytes", count("Most bytes in all; 0: no limit.")},
                      {"proposed", list(text("Host."), "The allow-list that lets through all that was let through.")},
                      {"counters", {{"type", {"object", "null"}}}}}));
  info.description =
      "Shows mode, allow-list and limits, counters since the network was opened, and the allow-list that the session "
      "would have needed: let it run in mode learn, then take `proposed`.";
  add(s, std::move(info), get);
  info = declare("network.log", "GET", "/v1/sandboxes/{id}/network/log", scope::read,
                 "List connections and look-ups of a sandbox, allowed and denied",
                 input({{"id", sandbox_id()},
                        {"verdict", one_of("Only these.", {"allow", "deny"})},
                        {"limit", integer("The last so many.", 1, 10'000)}},
                       {"id"}),
                 list(entry));
  add(s, std::move(info), log);
  info = declare("network.why", "GET", "/v1/sandboxes/{id}/network/why", scope::read,
                 "Explain what was refused to a sandbox, and what to add",
                 input({{"id", sandbox_id()}, {"host", text("Only this name or address.")}}, {"id"}), list(entry));
  add(s, std::move(info), why);
}

}  // namespace caged::operation
