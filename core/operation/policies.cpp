// Policies, the trust they give, and the questions they leave to a human.
#include "core/judgement/seen.hpp"
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"
#include "core/policy/policy_tools.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<reply> list_policies(services* s, call) {
  auto in_force = s->judge->policies().options({}, json::array());
  if (!in_force) co_return in_force.error();
  json rows = policy::list_policies(s->judge->policies().roots());
  for (auto& row : rows) {
    row["in_force"] = false;
    for (const auto& choice : in_force->policies)
      if (row.value("name", "") == choice.name) row["in_force"] = true;
  }
  co_return answer(std::move(rows));
}

task<reply> session_trust(services* s, call c) {
  const auto session = c.arguments["session"].get<std::string>();
  const auto* one = s->sessions->find(session);
  if (!one)
    co_return fail(errc::not_found, "session_not_found", "there is no session \"" + session + "\"",
                   "List them: GET /v1/sessions.", "/session");
  const std::string sandbox = one->sandbox_id;
  auto shown = co_await s->judge->trust(session, sandbox);
  if (!shown) co_return shown.error();
  co_return answer(std::move(*shown));
}

task<reply> sandbox_trust(services* s, call c) {
  const auto id = c.arguments["id"].get<std::string>();
  auto found = co_await s->sandboxes->recall(id);
  if (!found) co_return found.error();
  auto page = co_await s->sessions->page(id, 0, 1000);
  if (!page) co_return page.error();
  json rows = json::array();
  std::vector<int> scores;
  for (const auto& session : *page) {
    auto shown = co_await s->judge->trust(session.id, id);
    if (!shown) co_return shown.error();
    scores.push_back(shown->value("score", 100));
    rows.push_back(std::move(*shown));
  }
  reply r = answer(std::move(rows));
  // The list's shape is the reference's; the sandbox's own score is the lowest of it.
  r.headers.emplace_back("X-Trust-Score", std::to_string(policy::sandbox_score(scores)));
  co_return r;
}

task<reply> list_approvals(services* s, call c) {
  auto rows = co_await s->judge->questions().list(c.arguments.value("state", ""), c.arguments.value("limit", std::size_t{100}));
  if (!rows) co_return rows.error();
  json body = json::array();
  for (auto& row : *rows) body.push_back(std::move(row));
  co_return answer(std::move(body));
}

task<reply> get_approval(services* s, call c) {
  auto row = co_await s->judge->questions().get(c.arguments["approval"].get<std::string>());
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> decide(services* s, call c, std::string state) {
  auto row = co_await s->judge->questions().answer(c.arguments["approval"].get<std::string>(), std::move(state),
                                                   c.who.name.empty() ? c.who.key_id : c.who.name, c.arguments.value("note", ""));
  if (!row) co_return row.error();
  co_return answer(std::move(*row));
}

task<reply> approve(services* s, call c) { co_return co_await decide(s, std::move(c), "approved"); }
task<reply> deny(services* s, call c) { co_return co_await decide(s, std::move(c), "denied"); }

// A session's facts of the journal, all of them, at most as many as a replay can hold.
task<std::vector<event>> facts_of(services* s, std::string session) {
  std::vector<event> all;
  constexpr std::size_t most = 200'000, page = 10'000;
  while (all.size() < most) {
    event_query q;
    q.session_id = session;
    q.after_sequence = all.empty() ? 0 : all.back().sequence;
    q.limit = page;
    auto rows = co_await s->journal->read(std::move(q));
    if (!rows) co_return rows.error();
    const bool last = rows->size() < page;
    for (auto& e : *rows) all.push_back(std::move(e));
    if (last) break;
  }
  co_return all;
}

task<reply> replay_policies(services* s, call c) {
  const auto session = c.arguments["session"].get<std::string>();
  auto facts = co_await facts_of(s, session);
  if (!facts) co_return facts.error();
  std::vector<event> seen;
  for (auto& e : *facts)
    if (auto one = judgement::as_seen(std::move(e))) seen.push_back(std::move(*one));
  const json none = json::array();
  auto now = s->judge->policies().options({}, none);
  if (!now) co_return now.error();
  policy::engine_options after = *now;
  if (c.arguments.contains("policies")) {
    if (auto ok = s->judge->policies().check({}, c.arguments["policies"]); !ok) co_return ok.error();
    auto chosen = judgement::read_choices(c.arguments["policies"], "/policies");
    if (!chosen) co_return chosen.error();
    after.policies = std::move(*chosen);
  }
  judgement::subject who;
  who.session_id = session;
  auto outcome = policy::replay_events(after, &*now, seen, judgement::to_context(who, 100));
  if (!outcome) co_return outcome.error();
  co_return answer(std::move(*outcome));
}

json approval_schema() {
  return output({{"id", text("Id.")},
                 {"state", one_of("State.", {"pending", "approved", "denied", "expired"})},
                 {"gate", text("What was asked about.")},
                 {"reason", text("Why a policy leaves it to you.")},
                 {"sandbox_id", text("Sandbox.")},
                 {"session_id", text("Session.")},
                 {"expires_at", text("Denied when nobody decides until then.")}});
}

}  // namespace

void add_policy_operations(services& s) {
  const auto own = [&s](operation_info info, family_handler handler) {
    s.operations->add_own(std::move(info), "", bind(s, handler));
  };
  const json object{{"type", "object"}};
  const json session{{"type", "string"}, {"description", "Id of the session."}, {"minLength", 1}, {"maxLength", 64}};
  const json approval{{"type", "string"}, {"description", "Id of the approval."}, {"minLength", 1}, {"maxLength", 64}};
  const json note = text("A word about why, kept with it.");

  own(declare("policy.list", "GET", "/v1/policies", scope::read, "Policies this server knows and which are in force",
              input({}), list(object)),
      list_policies);
  auto info = declare("policy.replay", "POST", "/v1/sessions/{session}/policies/replay", scope::sandbox,
                      "Ask policies again about a recorded session",
                      input({{"session", session}, {"policies", list(json::object(), "Instead of those in force.")}}, {"session"}), object);
  info.description = "What the policies say today to what was recorded, beside what those in force say; changes nothing.";
  own(std::move(info), replay_policies);
  info = declare("session.trust", "GET", "/v1/sessions/{session}/trust", scope::read,
                 "A session's trust score with every deduction", input({{"session", session}}, {"session"}), object);
  info.description = "Score 0 to 100, band, and each deduction: event, rule, points, reason and advice.";
  own(std::move(info), session_trust);
  info = declare("trust.sandbox", "GET", "/v1/trust/sandboxes/{id}", scope::read, "Trust scores of a sandbox's sessions",
                 input({{"id", sandbox_id()}}, {"id"}), list(object));
  info.description = "One row a session; the sandbox's own score, the lowest of them, is the header X-Trust-Score.";
  own(std::move(info), sandbox_trust);
  own(declare("approval.list", "GET", "/v1/approvals", scope::read, "Questions that policies leave to a human",
              input({{"state", one_of("Only these.", {"pending", "approved", "denied", "expired"})},
                     {"limit", integer("100 by default.", 1, 1000)}}),
              list(approval_schema())),
      list_approvals);
  own(declare("approval.get", "GET", "/v1/approvals/{approval}", scope::read, "Show one question",
              input({{"approval", approval}}, {"approval"}), approval_schema()),
      get_approval);
  own(declare("approval.approve", "POST", "/v1/approvals/{approval}/approve", scope::full, "Allow what was asked",
              input({{"approval", approval}, {"note", note}}, {"approval"}), approval_schema()),
      approve);
  own(declare("approval.deny", "POST", "/v1/approvals/{approval}/deny", scope::full, "Refuse what was asked",
              input({{"approval", approval}, {"note", note}}, {"approval"}), approval_schema()),
      deny);
}

}  // namespace caged::operation
