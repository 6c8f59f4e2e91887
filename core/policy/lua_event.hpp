// Events as policies see them: a read-only view of the JSON, read on demand, dead when the evaluation ends. Internal.
#pragma once

#include <caged/event.hpp>
#include <core/policy/lua_state.hpp>

namespace caged::policy {

// Longest string a policy gets in one piece; of a longer one it gets the head and the tail, and event.truncated is
// true.
inline constexpr std::size_t max_event_string = 128 * 1024;

// The views of one interpreter. open() … close() bracket one evaluation.
class event_views {
 public:
  // Makes metatables and the two reusable roots. May raise.
  void prepare(lua_State* state);
  // Points the roots at this event and session context; both must live until close().
  void open(const event& e, const json& session) noexcept;
  void close() noexcept;
  bool evaluating() const noexcept { return event_ != nullptr; }
  // Each pushes the root; never allocates.
  void push_event(lua_State* state) const;
  void push_session(lua_State* state) const;

 private:
  friend struct view_access;
  struct view {
    const json* node = nullptr;
    event_views* owner = nullptr;
    std::uint64_t generation = 0;  // alive while it is the owner's
  };
  void push_value(lua_State* state, const json& value);
  static int index_event(lua_State* state);
  static int index_value(lua_State* state);
  static int length(lua_State* state);
  static int pairs(lua_State* state);
  static view& live_view(lua_State* state);
  bool push_envelope(lua_State* state, const char* key);

  const event* event_ = nullptr;
  std::uint64_t generation_ = 0;
  view* event_root_ = nullptr;
  view* session_root_ = nullptr;
  int event_ref_ = LUA_NOREF;
  int session_ref_ = LUA_NOREF;
  int view_metatable_ = LUA_NOREF;
  const char* names_[10] = {};  // interned envelope names: Lua keeps one copy of a short string
};

// Whether any string in the value is longer than max_event_string.
bool has_oversized_string(const json& value);

}  // namespace caged::policy
