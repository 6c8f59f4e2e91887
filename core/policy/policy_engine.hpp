// Asks Lua policies about events: what is about to happen (gates) and what has happened (facts). No Lua in sight here.
#pragma once

#include <caged/event.hpp>
#include <caged/result.hpp>
#include <chrono>
#include <core/policy/verdict.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace caged::policy {

// One policy to load. `name` is "trust" (then <root>/trust/trust.lua), "network/private" (<root>/network/private.lua),
// or a path that ends in ".lua". The same file may be loaded twice with different args under different `label`s.
struct policy_choice {
  std::string name;
  json args = json::object();
  std::string label;  // "" = the name in the file
};

struct policy_limits {
  std::int64_t instructions = 1'000'000;      // per handler call; library functions count by what they do
  std::chrono::microseconds time{50'000};     // per handler call
  std::size_t allocation = 8u << 20;          // bytes allocated per handler call
  std::size_t memory = 64u << 20;             // of one interpreter, everything together
  std::size_t state_bytes = 64 * 1024;        // of one policy's state for one session, as JSON
  std::size_t live_sessions = 256;            // kept inside the interpreter; older ones are parked as JSON
};

struct engine_options {
  std::vector<std::filesystem::path> roots;   // folders searched in order for policies and for lib/
  std::vector<policy_choice> policies;        // asked in this order
  policy_limits limits;
  std::size_t workers = 1;                    // interpreters; a session always meets the same one
};

// What is loaded, for lists and errors.
struct policy_info {
  std::string label;
  std::string name;
  std::string version;
  std::string description;
  std::filesystem::path file;
  json args;                            // with defaults
  json args_schema;
  std::vector<std::string> gates;
  std::vector<std::string> facts;
  bool fails_open = false;              // on_error = "allow"
};

// Thread-safe; every call returns within the limits (handlers × time) and never suspends. Calls for sessions of one
// worker wait for each other.
class policy_engine {
 public:
  // Errors name the file and line, what was found and what to do. Nothing is half loaded.
  static result<std::unique_ptr<policy_engine>> load(engine_options options);
  ~policy_engine();

  // Asks before something happens. `e.type` is a gate of the catalogue, `e.session_id` finds the state ("" = the host's
  // own), `session` is what handlers see as ctx.session. A handler that fails denies, unless its policy says
  // on_error = "allow"; the failure is also in verdict::failures, to be published as a policy_error event. A type no
  // policy asks for is allowed.
  verdict gate(const event& e, const json& session);
  // Tells what has happened. A handler that fails changes nothing; it is in verdict::failures.
  verdict observe(const event& e, const json& session);

  // The state of all policies for a session: {label: state}; what restore_state() takes after a restart. Policies that
  // kept nothing are left out.
  json session_state(std::string_view session_id);
  // Replaces it. Unknown labels are ignored (the policy was taken away).
  void restore_state(std::string_view session_id, const json& state);
  // The session has ended: drops its state.
  void forget(std::string_view session_id);

  // Reads all files again. On failure everything stays as it was. Session state moves along, by label.
  result<void> reload();
  // With other policies or arguments.
  result<void> reload(engine_options options);
  // Whether a file that was read has changed since (time or size).
  bool changed() const;

  std::vector<policy_info> policies() const;
  engine_options options() const;

 private:
  struct state;
  explicit policy_engine(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

}  // namespace caged::policy
