// The policies in force: the host's own for every sandbox, with those of an account and of one sandbox behind them.
#pragma once

#include <caged/result.hpp>
#include <core/policy/policy_engine.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/judgement/subject.hpp"

namespace caged::judgement {

// Names, or {name: arguments}, in order. `path` is the JSON pointer that errors begin with.
result<std::vector<policy::policy_choice>> read_choices(const json& list, const std::string& path);

struct engine_settings {
  std::vector<std::filesystem::path> roots;
  json use = json::array();
  std::map<std::string, json> accounts;  // by a key's name
};

// On the loop thread.
class engines {
 public:
  explicit engines(engine_settings settings) : settings_(std::move(settings)) {}

  // Loads the host's own; without them nothing may run.
  result<void> open();
  // Engines are shared between sandboxes with equal lists, and end with the last that holds them.
  result<std::shared_ptr<policy::policy_engine>> find(const std::string& account, const json& further);
  // What a sandbox's list may hold: policies of the roots, never a file's path. invalid_argument otherwise.
  result<void> check(const std::string& account, const json& further);

  // Reads files that changed again; what does not load leaves the old in force and is told, once per change.
  std::vector<error> refresh();

  const std::vector<std::filesystem::path>& roots() const noexcept { return settings_.roots; }
  // As the host would load it for such a sandbox.
  result<policy::engine_options> options(const std::string& account, const json& further) const;

 private:
  static constexpr std::size_t most = 256;  // different lists at a time

  engine_settings settings_;
  std::shared_ptr<policy::policy_engine> own_;
  std::map<std::string, std::weak_ptr<policy::policy_engine>> others_;
  std::map<std::string, std::string> told_;  // engine → its last failure to reload
};

}  // namespace caged::judgement
