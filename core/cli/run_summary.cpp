#include <core/cli/run_summary.hpp>

namespace caged::cli {
namespace {

json pick(const json& object, std::initializer_list<const char*> names) {
  if (!object.is_object()) return nullptr;
  for (const char* name : names) {
    if (object.contains(name) && !object[name].is_null()) return object[name];
  }
  return nullptr;
}

// The first that is a number.
json first_number(std::initializer_list<json> values) {
  for (const json& v : values) {
    if (v.is_number()) return v;
  }
  return nullptr;
}

// "created": from the counts, or from the length of the list.
json file_count(const json& changes, const char* name) {
  if (!changes.is_object()) return nullptr;
  const json counted = pick(changes.value("counts", json()), {name});
  if (counted.is_number()) return counted;
  const json list = pick(changes, {name});
  return list.is_array() ? json(list.size()) : json();
}

json sum(const json& a, const json& b) {
  if (!a.is_number() && !b.is_number()) return nullptr;
  return (a.is_number() ? a.get<double>() : 0) + (b.is_number() ? b.get<double>() : 0);
}

std::string time_or_dash(const json& milliseconds) {
  if (!milliseconds.is_number()) return "not measured";
  return human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(milliseconds.get<double>())));
}

std::string count_or_dash(const json& value) { return value.is_number() ? to_text(value) : "?"; }

std::string ending_of(const json& s) {
  if (s["timed_out"] == true) return "124 (time ran out)";
  std::string text = to_text(s["exit_code"]);
  if (s["signal"].is_string()) text += " (" + s["signal"].get<std::string>() + ")";
  return text;
}

}  // namespace

json summary_document(const run_facts& f) {
  const json usage = f.exit.is_object() ? f.exit.value("usage", json()) : json();
  const json rss = pick(usage, {"max_rss_kb"});
  json out;
  out["sandbox_id"] = f.sandbox_id;
  out["exit_code"] = f.exit_code;
  out["signal"] = pick(f.exit, {"signal"});
  out["timed_out"] = pick(f.exit, {"timed_out"}) == json(true);
  out["wall_ms"] = pick(f.exit, {"duration_ms"});
  out["total_ms"] = f.total.count();
  // The host's counters first; what the agent reports about one process is second best.
  out["cpu_user_ms"] = first_number({pick(f.metrics, {"cpu_user_ms"}), pick(usage, {"user_ms"})});
  out["cpu_system_ms"] = first_number({pick(f.metrics, {"cpu_system_ms"}), pick(usage, {"system_ms"})});
  out["cpu_ms"] = sum(out["cpu_user_ms"], out["cpu_system_ms"]);
  out["memory_peak_bytes"] = first_number(
      {pick(f.metrics, {"memory_peak_bytes"}), rss.is_number() ? json(rss.get<std::uint64_t>() * 1024) : json()});
  out["processes"] = first_number({pick(f.metrics, {"tasks_started"}), pick(f.metrics, {"tasks_peak"})});
  out["files"] = {{"created", file_count(f.changes, "created")},
                  {"modified", file_count(f.changes, "modified")},
                  {"deleted", file_count(f.changes, "deleted")}};
  out["cost"] = first_number({pick(f.sandbox, {"total_cost"}), pick(f.sandbox, {"cost"})});
  return out;
}

std::string summary_text(const json& s, colors use) {
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("exit code", ending_of(s));
  lines.emplace_back("wall time",
                     time_or_dash(s["wall_ms"]) + " (with the sandbox " + time_or_dash(s["total_ms"]) + ")");
  std::string cpu = time_or_dash(s["cpu_ms"]);
  if (s["cpu_ms"].is_number()) {
    cpu += " (user " + time_or_dash(s["cpu_user_ms"]) + ", system " + time_or_dash(s["cpu_system_ms"]) + ")";
  }
  lines.emplace_back("CPU time", cpu);
  lines.emplace_back("memory peak", s["memory_peak_bytes"].is_number()
                                        ? human_bytes(s["memory_peak_bytes"].get<std::uint64_t>())
                                        : "not measured");
  const json& files = s["files"];
  const bool known = files["created"].is_number() || files["modified"].is_number() || files["deleted"].is_number();
  lines.emplace_back("files", known
                                  ? count_or_dash(files["created"]) + " created, " + count_or_dash(files["modified"]) +
                                        " changed, " + count_or_dash(files["deleted"]) + " deleted"
                                  : "not measured");
  lines.emplace_back("processes", s["processes"].is_number() ? to_text(s["processes"]) : "not measured");
  lines.emplace_back("cost so far", s["cost"].is_number() ? human_dollars(s["cost"].get<double>()) : "not measured");
  lines.emplace_back("sandbox", s["sandbox_id"].get<std::string>());
  return key_values(lines, use);
}

}  // namespace caged::cli
