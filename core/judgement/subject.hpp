// What judgement must know of a sandbox; the sandbox room has the truth.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace caged::judgement {

struct subject {
  std::string sandbox_id;              // "" before it exists
  std::string session_id;              // its current session
  std::string account;                 // name of the key that made it
  std::string network_mode;
  std::string agent;                   // kind of agent at work, "" = not known
  std::vector<std::string> allowed_hosts;
  std::int64_t budget_micros = 0;      // 0 = none
  std::int64_t spent_micros = 0;
  json policies = json::array();       // further policies it was made with: names, or {name: arguments}
};

// As policies see it: ctx.session.
inline json to_context(const subject& s, int score) {
  return {{"id", s.session_id},         {"agent", s.agent},
          {"account", s.account},       {"score", score},
          {"network_mode", s.network_mode}, {"allowed_hosts", s.allowed_hosts},
          {"budget_micros", s.budget_micros}, {"spent_micros", s.spent_micros},
          // A sandbox's ordinary user is root inside it.
          {"uid", 0},                   {"root_allowed", true}};
}

}  // namespace caged::judgement
