// A sandbox as Caged knows it: what was asked for, what it is now, and how it may change.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace caged::sandbox {

enum class state : std::uint8_t { unset = 0, pending, running, paused, stopped, error, destroyed };
std::string_view to_string(state s) noexcept;
std::optional<state> parse_state(std::string_view text) noexcept;

// pending → running, error · running ⇄ paused · running, paused → stopped, error · anything but destroyed → destroyed.
// stopped: the box ended; error: it could not be set up or was lost. Both keep their record and can only be destroyed.
bool may_become(state from, state to) noexcept;

struct repository {
  std::string url;  // http(s)://, ssh, git@host:path, or an absolute path on the server
  std::string branch, commit, subdirectory;
};

struct record {
  // Asked for.
  std::string id, name, template_name, backend, network_mode, init_script, owner_key;
  double cpus = 0;
  std::int64_t memory_mb = 0, disk_gb = 0, timeout_s = 0;
  std::int64_t network_rate = 0, network_bytes = 0;  // most bytes a second, most bytes in all; 0 = no limit
  std::int64_t budget_micro = 0;  // micro-dollars, 0 = none
  std::string on_budget;          // what happens at 100 %: destroy, pause; "" = the server's setting
  repository repo;
  std::vector<std::string> allowlist, packages, agents, secrets;  // secrets: names only
  std::map<std::string, std::string> env, metadata;
  json policies = json::array();  // further ones, names or {name: arguments}
  // What it is.
  state status = state::pending;
  std::string session_id, ended_reason;
  std::optional<caged::error> failure;
  std::vector<std::string> walls, missing_walls;
  std::int64_t created_us = 0, started_us = 0, stopped_us = 0;
  // Billing: whole time in state running before `running_since_us`, which is 0 while it does not run.
  std::int64_t running_total_us = 0, running_since_us = 0;
  std::int64_t llm_micro = 0;  // spent on models
  std::int64_t egress_bytes = 0;  // sent to the network
  std::string held;            // why it is paused and may not be resumed: "budget", ""
  std::map<std::string, std::string> port_passwords;  // port → salt$hash
  int budget_alert = 0;  // highest percentage alerted: 0, 80, 95, 100

  std::int64_t running_us(std::int64_t now_us) const noexcept;
};

// What its computing has cost until now, in micro-dollars.
std::int64_t compute_micro(const record& r, std::int64_t now_us) noexcept;
// The part of it that is in no row of usage yet.
std::int64_t open_micro(const record& r, std::int64_t now_us) noexcept;
// What its egress has cost.
std::int64_t egress_micro(const record& r) noexcept;
// All of it.
std::int64_t spent_micro(const record& r, std::int64_t now_us) noexcept;

// As stored (lossless), and back.
json to_stored(const record& r);
record from_stored(const json& body);
// As the API shows it (docs: Sandbox).
json to_api(const record& r, std::int64_t now_us);

}  // namespace caged::sandbox
