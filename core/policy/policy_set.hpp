// The policies of one interpreter: their handlers, their state per session, one evaluation. Internal, one thread at a
 // time.
#pragma once

#include <core/policy/lua_event.hpp>
#include <core/policy/lua_verdict.hpp>
#include <core/policy/policy_engine.hpp>
#include <list>
#include <map>
#include <set>
#include <unordered_map>

namespace caged::policy {

// A file that was read, as it was then.
struct source_file {
  std::filesystem::path path;
  std::filesystem::file_time_type time{};
  std::uintmax_t size = 0;
};

// Text of a policy or library file; refuses what is not a regular file, too large, or writable by everybody.
result<std::string> read_source(const std::filesystem::path& path);
// Where a choice's file lies.
result<std::filesystem::path> find_policy(const std::vector<std::filesystem::path>& roots, const std::string& name);

// One handler's answer, for explain.
struct handler_trace {
  std::string policy;
  verdict answer;
  std::int64_t work = 0;  // instructions and library steps
  std::size_t allocated = 0;
  std::chrono::nanoseconds time{0};
};

class policy_set {
 public:
  static result<std::unique_ptr<policy_set>> load(const engine_options& options);

  // `traces`, when given, gets one entry per handler that was asked.
  verdict evaluate(stage at, const event& e, const json& session, std::vector<handler_trace>* traces = nullptr);

  json session_state(const std::string& session_id);
  void restore_state(const std::string& session_id, const json& state);
  void forget(const std::string& session_id);
  // {session: state} of all.
  std::map<std::string, json> all_states();

  std::vector<policy_info> infos() const;
  const std::vector<source_file>& files() const noexcept { return files_; }

 private:
  struct policy {
    policy_info info;
    int args_ref = LUA_NOREF;
  };
  struct handler {
    std::size_t policy = 0;
    int ref = LUA_NOREF;
  };
  struct session_slot {
    std::vector<int> contexts;     // one ctx table per policy; LUA_NOREF until first needed
    std::vector<json> saved;       // the last state known to be within its limit
    std::uint64_t evaluations = 0;
    std::list<std::string>::iterator age;
  };
  struct frame;
  using handlers_by_type = std::map<std::string, std::vector<handler>, std::less<>>;

  explicit policy_set(const engine_options& options) : options_(options) {}
  // policy_file.cpp
  result<void> add(const policy_choice& choice);
  result<void> read_table(const policy_choice& choice, policy& p);
  result<void> read_handlers(const char* field, stage at, const policy& p, std::size_t index,
                             std::vector<std::string>& names);
  result<void> read_args(const policy_choice& choice, policy& p);
  result<std::string> text_field(const char* field, const policy& p);
  // lua_require.cpp
  void push_require();
  static int require(lua_State* state);
  result<void> load_library(lua_State* state, const std::string& name, int loaded);

  // `answer` stays empty when the handler has nothing to say, which is nearly always.
  result<void> ask(const handler& h, stage at, session_slot& slot, std::optional<verdict>& answer);
  session_slot& slot_for(const std::string& session_id);
  result<void> make_context(session_slot& slot, std::size_t policy_index);
  result<json> read_state(session_slot& slot, std::size_t policy_index);
  result<void> check_state(session_slot& slot, std::size_t policy_index);
  json slot_state(session_slot& slot);
  void release(session_slot& slot);
  void park_oldest();

  engine_options options_;
  std::unique_ptr<lua_machine> machine_;
  event_views views_;
  std::vector<policy> policies_;
  handlers_by_type gates_;
  handlers_by_type facts_;
  std::vector<source_file> files_;
  std::unordered_map<std::string, session_slot> sessions_;
  std::list<std::string> ages_;  // least recently used first
  std::unordered_map<std::string, json> parked_;
};

}  // namespace caged::policy
