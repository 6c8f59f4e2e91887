#include "core/judgement/seen.hpp"

#include <filesystem>
#include <map>

namespace caged::judgement {
namespace {

// Absolute, without "." and "..": relative paths of the API start in /workspace.
std::string inside(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path whole = path.starts_with('/') ? fs::path(path) : fs::path("/workspace") / path;
  std::string text = whole.lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string text_of(const json& arguments, const char* key) {
  const auto found = arguments.find(key);
  return found != arguments.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool seen_command(json& d) {
  const std::string phase = d.value("phase", "");
  // The witness of executions tells a short one as a whole, at its end; the end alone says nothing new.
  const bool whole = phase == "finished" && d.value("source", "") == "exec" && d.contains("argv");
  if (!phase.empty() && phase != "started" && !whole) return false;
  if (!d.contains("source")) d["source"] = "rest";
  return true;
}

}  // namespace

std::string file_operation(const std::string& operation) {
  static const std::map<std::string, std::string, std::less<>> names{
      {"file.read", "read"},   {"file.write", "write"},  {"file.remove", "delete"}, {"file.mkdir", "mkdir"},
      {"file.move", "rename"}, {"file.copy", "create"},  {"file.chmod", "chmod"},   {"file.symlink", "create"},
      {"file.list", "list"},   {"file.search", "search"}, {"file.glob", "search"},  {"file.stat", "list"}};
  const auto found = names.find(operation);
  return found == names.end() ? std::string() : found->second;
}

json file_question(const std::string& operation, const json& arguments, const std::string& transport) {
  json d{{"operation", file_operation(operation)}, {"source", transport.empty() ? "rest" : transport}};
  std::string path = text_of(arguments, "path"), target;
  if (operation == "file.move") {
    path = text_of(arguments, "from");
    target = text_of(arguments, "to");
  }
  // A copy makes the second and reads the first.
  if (operation == "file.copy") {
    path = text_of(arguments, "to");
    target = text_of(arguments, "from");
  }
  if (operation == "file.symlink") target = text_of(arguments, "target");
  d["path"] = inside(path.empty() ? "/workspace" : path);
  if (!target.empty()) d["target"] = operation == "file.symlink" ? target : inside(target);
  if (const auto mode = arguments.find("mode"); mode != arguments.end()) {
    if (mode->is_number_integer()) d["mode"] = *mode;
    const std::string digits = mode->is_string() ? mode->get<std::string>() : std::string();
    if (!digits.empty() && digits.size() < 6 && digits.find_first_not_of("01234567") == std::string::npos)
      d["mode"] = std::stoi(digits, nullptr, 8);
  }
  if (const auto content = arguments.find("content"); content != arguments.end() && content->is_string())
    d["size"] = content->get_ref<const std::string&>().size();
  return d;
}

std::optional<event> as_seen(event e) {
  if (e.type == "trust" || e.type == "policy" || e.type == "policy_error" || e.type == "alert" || e.type == "approval")
    return std::nullopt;
  if (!e.data.is_object()) return std::nullopt;
  if (e.type == "command" && !seen_command(e.data)) return std::nullopt;
  if (e.type == "file_op" && e.data.contains("arguments"))
    e.data = file_question(text_of(e.data, "operation"), e.data["arguments"], text_of(e.data, "transport"));
  if (e.type == "lifecycle") {
    if (e.data.contains("to")) e.data["state"] = e.data["to"];
    if (e.data.contains("from")) e.data["previous"] = e.data["from"];
  }
  return e;
}

}  // namespace caged::judgement
