// Calls that go on after their answer: the tasks extension of the stateless era.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <caged/mcp/call.hpp>

namespace caged::mcp {

inline constexpr const char* tasks_extension = "io.modelcontextprotocol/tasks";

struct task_record {
  std::string id, principal, status = "working";
  std::chrono::system_clock::time_point created, updated;
  json result, error, questions;  // null while there is none
  std::shared_ptr<tool_call> call;
};

// Single-threaded. Tasks live an hour.
class task_store {
 public:
  static constexpr std::size_t max_per_principal = 256;
  static constexpr std::chrono::milliseconds time_to_live = std::chrono::hours(1);
  static constexpr std::chrono::milliseconds poll_interval{500};

  // nullptr when this principal has too many.
  std::shared_ptr<task_record> make(const std::shared_ptr<tool_call>& call, const std::string& principal);
  // nullptr when there is none of this principal.
  std::shared_ptr<task_record> find(const std::string& id, const std::string& principal);
  // Answers to what the task asked; keys that are not asked for are ignored.
  void update(task_record& t, const json& responses);
  void cancel(task_record& t);
  // Cancels all.
  void close();

  static json description(const task_record& t);
  // How a call under a task ends and asks.
  static void complete(task_record& t, json result);
  static void break_off(task_record& t, json error);
  static void ask(task_record& t, json questions);

 private:
  void forget_old();
  std::map<std::string, std::shared_ptr<task_record>> tasks_;
};

// 128 random bits as text.
std::string random_handle(std::string_view prefix);

}  // namespace caged::mcp
