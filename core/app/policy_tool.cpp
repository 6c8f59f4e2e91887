#include "core/app/policy_tool.hpp"

#include "core/base/time.hpp"
#include "core/judgement/engines.hpp"
#include "core/judgement/seen.hpp"
#include "core/policy/policy_tools.hpp"

namespace caged::app {
namespace {

std::vector<std::filesystem::path> paths(const json& request, const char* key) {
  std::vector<std::filesystem::path> out;
  for (const auto& text : request.value(key, std::vector<std::string>())) out.emplace_back(text);
  return out;
}

result<policy::engine_options> options(const json& request, const char* key) {
  policy::engine_options o;
  o.roots = paths(request, "roots");
  auto choices = judgement::read_choices(request.value(key, json::array()), std::string("/") + key);
  if (!choices) return choices.error();
  o.policies = std::move(*choices);
  return o;
}

result<json> explain(const json& request) {
  auto o = options(request, "policies");
  if (!o) return o.error();
  auto e = policy::event_from_json(request.value("event", json()));
  if (!e) return e.error();
  const std::string as = request.value("as", "");
  const auto how = as == "gate" ? policy::explain_as::gate : as == "fact" ? policy::explain_as::fact : policy::explain_as::unset;
  return policy::explain_event(*o, *e, request.value("session", json::object()), how);
}

result<json> replay(const json& request) {
  auto after = options(request, "policies");
  if (!after) return after.error();
  auto before = options(request, "before");
  if (!before) return before.error();
  std::vector<event> events;
  for (json one : request.value("events", json::array())) {
    // As the API tells them: the time is text there.
    if (one.contains("timestamp") && !one.contains("time_us"))
      if (auto time = base::parse_time(one.value("timestamp", "")); time) one["time_us"] = *time;
    one.erase("duration_ms");
    auto e = policy::event_from_json(one);
    if (!e) return e.error();
    if (auto seen = judgement::as_seen(std::move(*e))) events.push_back(std::move(*seen));
  }
  return policy::replay_events(*after, before->policies.empty() ? nullptr : &*before, events,
                               request.value("session", json::object()));
}

}  // namespace

result<json> policy_tool(const json& request) {
  const std::string tool = request.value("tool", "");
  if (tool == "list") return policy::list_policies(paths(request, "roots"));
  if (tool == "test") return policy::run_policy_tests(paths(request, "roots"), paths(request, "files"), request.value("filter", ""));
  if (tool == "new") return policy::new_policy(request.value("root", ""), request.value("name", ""));
  if (tool == "explain") return explain(request);
  if (tool == "replay") return replay(request);
  if (tool != "check") return fail(errc::invalid_argument, "unknown_tool", "there is no policy tool \"" + tool + "\"", "");
  auto o = options(request, "policies");
  if (!o) return o.error();
  return policy::check_policies(*o);
}

}  // namespace caged::app
