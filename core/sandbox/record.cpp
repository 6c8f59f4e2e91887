#include "core/sandbox/record.hpp"

#include <array>
#include <cmath>

#include "core/base/time.hpp"
#include "core/meter/compute_price.hpp"

namespace caged::sandbox {
namespace {

constexpr std::array<std::string_view, 7> names{"unset",   "pending", "running",  "paused",
                                                "stopped", "error",   "destroyed"};

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json time_or_null(std::int64_t us) { return us == 0 ? json(nullptr) : json(base::format_time(us)); }

double dollars(std::int64_t micro) { return static_cast<double>(micro) / 1e6; }

}  // namespace

std::string_view to_string(state s) noexcept { return names[static_cast<std::size_t>(s)]; }

std::optional<state> parse_state(std::string_view text) noexcept {
  for (std::size_t i = 1; i < names.size(); ++i)
    if (names[i] == text) return static_cast<state>(i);
  return std::nullopt;
}

bool may_become(state from, state to) noexcept {
  switch (to) {
    case state::running:
      return from == state::pending || from == state::paused;
    case state::paused:
      return from == state::running;
    case state::stopped:
      return from == state::running || from == state::paused;
    case state::error:
      return from == state::pending || from == state::running || from == state::paused;
    case state::destroyed:
      return from != state::destroyed && from != state::unset;
    case state::pending:
    case state::unset:
      return false;
  }
  return false;
}

std::int64_t record::running_us(std::int64_t now_us) const noexcept {
  return running_total_us + (running_since_us != 0 && now_us > running_since_us ? now_us - running_since_us : 0);
}

std::int64_t compute_micro(const record& r, std::int64_t now_us) noexcept {
  const meter::compute_size size{std::llround(r.cpus * 1000), r.memory_mb, r.disk_gb};
  return meter::compute_cost_micro({}, size, r.running_us(now_us));
}

std::int64_t open_micro(const record& r, std::int64_t now_us) noexcept {
  return r.running_since_us == 0 ? 0 : compute_micro(r, now_us) - compute_micro(r, r.running_since_us);
}

std::int64_t egress_micro(const record& r) noexcept { return meter::egress_cost_micro(r.egress_bytes); }

std::int64_t spent_micro(const record& r, std::int64_t now_us) noexcept {
  return compute_micro(r, now_us) + egress_micro(r) + r.llm_micro;
}

json to_stored(const record& r) {
  json j{{"id", r.id},
         {"name", r.name},
         {"template", r.template_name},
         {"backend", r.backend},
         {"network_mode", r.network_mode},
         {"network_rate", r.network_rate},
         {"network_bytes", r.network_bytes},
         {"init_script", r.init_script},
         {"owner_key", r.owner_key},
         {"cpus", r.cpus},
         {"memory_mb", r.memory_mb},
         {"disk_gb", r.disk_gb},
         {"timeout_s", r.timeout_s},
         {"budget_micro", r.budget_micro},
         {"allowlist", r.allowlist},
         {"packages", r.packages},
         {"agents", r.agents},
         {"env", r.env},
         {"metadata", r.metadata},
         {"policies", r.policies},
         {"status", to_string(r.status)},
         {"session_id", r.session_id},
         {"ended_reason", r.ended_reason},
         {"walls", r.walls},
         {"missing_walls", r.missing_walls},
         {"created_us", r.created_us},
         {"started_us", r.started_us},
         {"stopped_us", r.stopped_us},
         {"running_total_us", r.running_total_us},
         {"running_since_us", r.running_since_us},
         {"budget_alert", r.budget_alert},
         {"llm_micro", r.llm_micro},
         {"egress_bytes", r.egress_bytes},
         {"on_budget", r.on_budget},
         {"held", r.held},
         {"secrets", r.secrets},
         {"port_passwords", r.port_passwords}};
  j["repo"] = {
      {"url", r.repo.url}, {"branch", r.repo.branch}, {"commit", r.repo.commit}, {"subdirectory", r.repo.subdirectory}};
  if (r.failure)
    j["failure"] = {{"code", static_cast<int>(r.failure->code)},
                    {"reason", r.failure->reason},
                    {"message", r.failure->message},
                    {"action", r.failure->action}};
  return j;
}

record from_stored(const json& j) {
  record r;
  const auto text = [&j](const char* key) { return j.value(key, std::string()); };
  const auto number = [&j](const char* key) { return j.value(key, std::int64_t{0}); };
  const auto list = [&j](const char* key) { return j.value(key, std::vector<std::string>()); };
  const auto map = [&j](const char* key) { return j.value(key, std::map<std::string, std::string>()); };
  r.id = text("id");
  r.name = text("name");
  r.template_name = text("template");
  r.backend = text("backend");
  r.network_mode = text("network_mode");
  r.network_rate = number("network_rate");
  r.network_bytes = number("network_bytes");
  r.init_script = text("init_script");
  r.owner_key = text("owner_key");
  r.cpus = j.value("cpus", 0.0);
  r.memory_mb = number("memory_mb");
  r.disk_gb = number("disk_gb");
  r.timeout_s = number("timeout_s");
  r.budget_micro = number("budget_micro");
  r.allowlist = list("allowlist");
  r.packages = list("packages");
  r.agents = list("agents");
  r.secrets = list("secrets");
  r.env = map("env");
  r.metadata = map("metadata");
  r.policies = j.value("policies", json::array());
  r.status = parse_state(text("status")).value_or(state::error);
  r.session_id = text("session_id");
  r.ended_reason = text("ended_reason");
  r.walls = list("walls");
  r.missing_walls = list("missing_walls");
  r.created_us = number("created_us");
  r.started_us = number("started_us");
  r.stopped_us = number("stopped_us");
  r.running_total_us = number("running_total_us");
  r.running_since_us = number("running_since_us");
  r.llm_micro = number("llm_micro");
  r.egress_bytes = number("egress_bytes");
  r.on_budget = text("on_budget");
  r.held = text("held");
  r.port_passwords = map("port_passwords");
  r.budget_alert = static_cast<int>(number("budget_alert"));
  if (const auto it = j.find("repo"); it != j.end())
    r.repo = {it->value("url", ""), it->value("branch", ""), it->value("commit", ""), it->value("subdirectory", "")};
  if (const auto it = j.find("failure"); it != j.end())
    r.failure = caged::error{static_cast<errc>(it->value("code", 0)),
                             it->value("reason", ""),
                             it->value("message", ""),
                             it->value("action", ""),
                             {}};
  return r;
}

json to_api(const record& r, std::int64_t now_us) {
  const auto compute = compute_micro(r, now_us);
  json j{{"id", r.id},
         {"name", r.name},
         {"status", to_string(r.status)},
         {"template", r.template_name},
         {"backend", r.backend},
         {"memory_mb", r.memory_mb},
         {"disk_gb", r.disk_gb},
         {"network_mode", r.network_mode},
         {"allowlist", r.allowlist},
         {"network_rate", r.network_rate},
         {"network_bytes", r.network_bytes},
         {"packages", r.packages},
         {"agents", r.agents},
         {"secrets", r.secrets},
         {"env", r.env},
         {"metadata", r.metadata},
         {"policies", r.policies},
         {"timeout", r.timeout_s},
         {"session_id", r.session_id},
         {"walls", r.walls},
         {"missing_walls", r.missing_walls},
         {"cost", dollars(compute)},
         {"llm_cost", dollars(r.llm_micro)},
         {"egress_cost", dollars(egress_micro(r))},
         {"total_cost", dollars(spent_micro(r, now_us))}};
  j["on_budget"] = text_or_null(r.on_budget);
  j["held"] = text_or_null(r.held);
  // Whole processors are shown as integers: clients compare them with what they sent.
  j["cpus"] = r.cpus == std::floor(r.cpus) ? json(static_cast<std::int64_t>(r.cpus)) : json(r.cpus);
  j["budget"] = r.budget_micro == 0 ? json(nullptr) : json(dollars(r.budget_micro));
  j["repo_url"] = text_or_null(r.repo.url);
  j["repo_branch"] = text_or_null(r.repo.branch);
  j["repo_commit"] = text_or_null(r.repo.commit);
  j["repo_subdir"] = text_or_null(r.repo.subdirectory);
  j["init_script"] = text_or_null(r.init_script);
  j["created_at"] = time_or_null(r.created_us);
  j["started_at"] = time_or_null(r.started_us);
  j["stopped_at"] = time_or_null(r.stopped_us);
  j["ended_reason"] = text_or_null(r.ended_reason);
  j["error"] = nullptr;
  if (r.failure)
    j["error"] = {{"reason", r.failure->reason}, {"message", r.failure->message}, {"action", r.failure->action}};
  return j;
}

}  // namespace caged::sandbox
