// One Lua interpreter with nothing but an allow-listed environment, and the meters that stop a script. Internal.
#pragma once

#include <caged/result.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <lua.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace caged::policy {

// What one call into Lua may use up.
struct script_budget {
  std::int64_t work = 1'000'000;             // virtual machine instructions plus the steps of library functions
  std::size_t allocation = 8u << 20;         // bytes allocated altogether, freed or not
  std::chrono::microseconds time{50'000};
};

// Which meter stopped a script.
enum class exhausted : std::uint8_t { unset = 0, work, time, memory };
std::string_view to_string(exhausted e) noexcept;

// Counts while a script runs. Reached from any C function by meter_of(L).
class script_meter {
 public:
  explicit script_meter(std::size_t memory_limit) : memory_limit_(memory_limit) {}

  void arm(const script_budget& budget) noexcept;
  void disarm() noexcept { armed_ = false; }
  exhausted tripped() const noexcept { return tripped_; }
  std::size_t memory() const noexcept { return live_; }
  std::int64_t work_left() const noexcept { return work_left_; }
  std::int64_t& work_left() noexcept { return work_left_; }
  std::size_t allocated() const noexcept { return volume_; }

  // Takes work off without raising; false when a budget is spent.
  bool spend(std::int64_t work) noexcept;
  // The allocator of the interpreter.
  static void* allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) noexcept;
  static void hook(lua_State* state, lua_Debug*);

 private:
  bool over_time() const noexcept;

  std::size_t memory_limit_;
  std::size_t live_ = 0;
  std::size_t volume_ = 0;
  std::size_t volume_limit_ = 0;
  std::int64_t work_left_ = 0;
  std::chrono::steady_clock::time_point deadline_{};
  bool armed_ = false;
  exhausted tripped_ = exhausted::unset;
};

class lua_machine;
lua_machine& machine_of(lua_State* state) noexcept;
script_meter& meter_of(lua_State* state) noexcept;
// Takes work off and raises a Lua error when the budget is spent. Every library function calls it with what it costs.
void charge(lua_State* state, std::int64_t work);

// Owns a lua_State. One thread at a time.
class lua_machine {
 public:
  // Fails only when memory does.
  static result<std::unique_ptr<lua_machine>> make(std::size_t memory_limit);
  ~lua_machine();
  lua_machine(const lua_machine&) = delete;
  lua_machine& operator=(const lua_machine&) = delete;

  lua_State* raw() noexcept { return state_; }
  script_meter& meter() noexcept { return meter_; }

  // Runs the function under the value on the stack's top (arguments above it) with a budget. On failure the stack is as
  // before the function was pushed and the error says what went wrong, in one printable line.
  result<void> call(int arguments, int results, const script_budget& budget);
  // Runs native code that may raise (memory) under a protected call.
  result<void> guarded(const script_budget& budget, const std::function<void(lua_State*)>& work);
  // Compiles text (never bytecode) and leaves the function on the stack with `environment` (a stack index) as _ENV.
  result<void> load_text(std::string_view text, const std::string& chunk_name, int environment);

  // Pushes a fresh environment: reads fall through to the allow-listed globals, writes are refused.
  void push_environment();
  // Adds a value (on the stack's top, popped) to the globals that every environment made later reads through.
  void define_global(const char* name);

 private:
  lua_machine(std::size_t memory_limit) : meter_(memory_limit) {}
  result<void> failure(int status);

  script_meter meter_;
  lua_State* state_ = nullptr;
  int globals_ = LUA_NOREF;
};

// Replaces the table on the stack's top by a view of it that cannot be written; `what` names it in the refusal.
void push_read_only(lua_State* state, const char* what);
// As push_read_only, for every table inside too.
void freeze_deep(lua_State* state, const char* what);
// Text of any Lua value for messages: no addresses, printable, bounded.
std::string printable(lua_State* state, int index);
std::string printable(std::string_view text, std::size_t limit = 512);

// Each pushes one library table.
void push_string_library(lua_State* state);
void push_table_library(lua_State* state);
void push_math_library(lua_State* state);
void push_shell_library(lua_State* state);
// Sets the basic functions as fields of the table on the stack's top.
void set_basic_functions(lua_State* state);
// Sets allow, deny, ask, pause, kill, deduct, annotate.
void set_verdict_functions(lua_State* state);

}  // namespace caged::policy
