// Recorded events through policies again: what a change would have changed.
#include <core/policy/event_catalogue.hpp>
#include <core/policy/policy_set.hpp>
#include <core/policy/policy_tools.hpp>
#include <core/policy/trust_score.hpp>

namespace caged::policy {
namespace {

struct outcome {
  verdict fact;
  std::optional<verdict> gate;
};

// Which gate would have been asked about what this fact records.
const event_type* gate_before(const event& e) {
  for (const auto& type : event_types()) {
    if (!type.gate || type.recorded_as != e.type) continue;
    if (type.name == "sandbox.create" && e.data.value("state", json()) != json("pending")) continue;
    if (type.name == "network.connect" && e.data.value("operation", json("connect")) != json("connect")) continue;
    // Evidence of single programs and files was never asked about: the gate saw the API's request.
    if ((type.name == "command" || type.name == "file_op") && e.data.value("source", json()) == json("exec")) continue;
    return &type;
  }
  return nullptr;
}

outcome ask(policy_set& set, const event& e, const json& session) {
  outcome out;
  if (const event_type* gate = gate_before(e)) {
    event question = e;
    question.type = std::string(gate->name);
    out.gate = set.evaluate(stage::gate, question, session);
  }
  out.fact = set.evaluate(stage::fact, e, session);
  return out;
}

struct session_result {
  trust_score after, before;
  json differences = json::array();
};

}  // namespace

result<json> replay_events(const engine_options& after, const engine_options* before, const std::vector<event>& events,
                           const json& session) {
  auto new_set = policy_set::load(after);
  if (!new_set) return new_set.error();
  std::unique_ptr<policy_set> old_set;
  if (before != nullptr) {
    auto loaded = policy_set::load(*before);
    if (!loaded) return loaded.error();
    old_set = std::move(*loaded);
  }
  std::map<std::string, session_result> sessions;
  std::map<std::string, std::size_t> kinds;
  std::size_t changed = 0;
  for (const auto& e : events) {
    auto& s = sessions[e.session_id];
    const outcome now = ask(**new_set, e, session);
    s.after.apply(now.fact, e);
    ++kinds[std::string(to_string(now.gate && now.gate->kind > now.fact.kind ? now.gate->kind : now.fact.kind))];
    if (old_set == nullptr) continue;
    const outcome then = ask(*old_set, e, session);
    s.before.apply(then.fact, e);
    const auto compare = [&](const verdict& a, const verdict& b, const char* stage_name) {
      const json left = a.to_json(), right = b.to_json();
      if (left == right) return;
      ++changed;
      s.differences.push_back({{"event_id", e.id},
                               {"sequence", e.sequence},
                               {"type", e.type},
                               {"stage", stage_name},
                               {"before", left},
                               {"after", right}});
    };
    if (then.gate && now.gate) compare(*then.gate, *now.gate, "gate");
    compare(then.fact, now.fact, "fact");
  }
  json list = json::array();
  for (auto& [id, s] : sessions) {
    const json trust = s.after.to_json();
    json item = {
        {"session_id", id}, {"score", trust["score"]}, {"band", trust["band"]}, {"deductions", trust["deductions"]}};
    if (old_set != nullptr) {
      item["score_before"] = s.before.score();
      item["differences"] = std::move(s.differences);
    }
    list.push_back(std::move(item));
  }
  return json{{"events", events.size()}, {"sessions", std::move(list)}, {"changed", changed}, {"verdicts", kinds}};
}

}  // namespace caged::policy
