#include <caged/mcp/tasks.hpp>

#include <sys/random.h>

#include <cstdio>
#include <ctime>
#include <utility>

#include "request.hpp"

namespace caged::mcp {
namespace {

std::string iso_time(std::chrono::system_clock::time_point at) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(ms % 1000));
  return text;
}

bool over(const task_record& t) { return t.status == "completed" || t.status == "failed" || t.status == "cancelled"; }

void move_to(task_record& t, const char* status) {
  t.status = status;
  t.updated = std::chrono::system_clock::now();
}

}  // namespace

std::string random_handle(std::string_view prefix) {
  unsigned char bytes[16];
  for (std::size_t have = 0; have < sizeof bytes;) {
    const ssize_t n = ::getrandom(bytes + have, sizeof bytes - have, 0);
    if (n > 0) have += static_cast<std::size_t>(n);
  }
  std::string text(prefix);
  for (const unsigned char b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

std::shared_ptr<task_record> task_store::make(const std::shared_ptr<tool_call>& call, const std::string& principal) {
  forget_old();
  std::size_t mine = 0;
  for (const auto& [id, t] : tasks_) mine += t->principal == principal ? 1 : 0;
  if (mine >= max_per_principal) return nullptr;
  const auto t = std::make_shared<task_record>();
  t->id = random_handle("task-");
  t->principal = principal;
  t->created = t->updated = std::chrono::system_clock::now();
  t->call = call;
  tasks_[t->id] = t;
  return t;
}

std::shared_ptr<task_record> task_store::find(const std::string& id, const std::string& principal) {
  forget_old();
  const auto it = tasks_.find(id);
  return it == tasks_.end() || it->second->principal != principal ? nullptr : it->second;
}

void task_store::forget_old() {
  const auto now = std::chrono::system_clock::now();
  for (auto it = tasks_.begin(); it != tasks_.end();) {
    const auto t = it->second;
    if (now - t->created < time_to_live) {
      ++it;
      continue;
    }
    it = tasks_.erase(it);
    cancel(*t);
  }
}

void task_store::update(task_record& t, const json& responses) {
  if (t.status != "input_required" || !t.call) return;
  const auto call = t.call;
  for (const auto& [key, value] : responses.items()) {
    if (!t.questions.contains(key)) continue;
    call->collected_[key] = value;
    t.questions.erase(key);
    t.updated = std::chrono::system_clock::now();
  }
  if (!t.questions.empty()) return;
  t.questions = nullptr;
  move_to(t, "working");
  if (const auto then = std::exchange(call->then_, nullptr)) then(call->collected_);
}

void task_store::cancel(task_record& t) {
  if (over(t)) return;
  move_to(t, "cancelled");
  t.questions = nullptr;
  const auto call = std::exchange(t.call, nullptr);
  if (!call) return;
  call->cancelled_ = true;
  call->give_up_questions();
  if (const auto action = std::exchange(call->on_cancel_, nullptr)) action();
  call->task_.reset();
}

void task_store::close() {
  for (const auto& [id, t] : std::exchange(tasks_, {})) cancel(*t);
}

json task_store::description(const task_record& t) {
  json d{{"taskId", t.id},
         {"status", t.status},
         {"createdAt", iso_time(t.created)},
         {"lastUpdatedAt", iso_time(t.updated)}};
  d["ttlMs"] = time_to_live.count();
  d["pollIntervalMs"] = poll_interval.count();
  if (t.status == "completed") d["result"] = t.result;
  if (t.status == "failed") d["error"] = t.error;
  if (t.status == "input_required") d["inputRequests"] = t.questions;
  return d;
}

void task_store::complete(task_record& t, json result) {
  if (over(t)) return;
  t.result = std::move(result);
  move_to(t, "completed");
  // The two hold each other while the call is under way.
  if (const auto call = std::exchange(t.call, nullptr)) call->task_.reset();
}

void task_store::break_off(task_record& t, json error) {
  if (over(t)) return;
  t.error = std::move(error);
  move_to(t, "failed");
  if (const auto call = std::exchange(t.call, nullptr)) call->task_.reset();
}

void task_store::ask(task_record& t, json questions) {
  if (over(t)) return;
  t.questions = std::move(questions);
  move_to(t, "input_required");
}

void dialog::task_method(request& r) {
  json wanted;
  wanted["extensions"][tasks_extension] = json::object();
  const json* extensions = member(r.params.at("_meta").at("io.modelcontextprotocol/clientCapabilities"), "extensions");
  if (extensions == nullptr || member(*extensions, tasks_extension) == nullptr)
    return error(r, error_code::missing_capability, "Missing required client capability",
                 {{"requiredCapabilities", wanted}}, 400);
  const auto t = in_.tasks->find(text_member(r.params, "taskId"), in_.principal);
  if (!t)
    return error(r, error_code::invalid_params, "Invalid params: there is no such task, or it has been forgotten");
  if (r.method == "tasks/get") return result(r, dump(task_store::description(*t)));
  if (r.method == "tasks/cancel") {
    in_.tasks->cancel(*t);
    return result(r, "{}");
  }
  const json* responses = member(r.params, "inputResponses");
  if (responses == nullptr || !responses->is_object())
    return error(r, error_code::invalid_params, "Invalid params: \"inputResponses\" must be an object");
  in_.tasks->update(*t, *responses);
  result(r, "{}");
}

}  // namespace caged::mcp
