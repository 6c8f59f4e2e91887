// A few prompts that help an agent use a sandbox well, and completion of what they and the templates take.
#include <algorithm>

#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

struct prompt_row {
  const char* name;
  const char* title;
  const char* description;
  const char* extra;        // a further argument, "" for none
  const char* extra_about;
  const char* text;         // {id} and {extra} are filled in
};

constexpr prompt_row rows[] = {
    {"use_sandbox", "Work in a sandbox", "How to do a piece of work in a sandbox and leave it tidy", "task",
     "What is to be done",
     "Do this in the sandbox {id}: {extra}\n\nEverything you run belongs into the sandbox: sandbox_exec for commands "
     "(its working folder is /workspace), "
     "file_read and file_write for files, git_diff to see what you changed. Take a snapshot (snapshot_create) before "
     "anything that is hard to undo, and "
     "snapshot_restore when it went wrong. Run long-lived programs with background: true and look at them with "
     "process_list. The network is limited: when "
     "a connection is refused, say which host is needed instead of trying another way. At the end tell what changed "
     "and how you checked it."},
    {"find_failure", "Find out why something fails", "Reproduce a failing command and find its cause", "command",
     "The command that fails",
     "In the sandbox {id} this fails: {extra}\n\nRun it with sandbox_exec and read the whole output. Find the smallest "
     "way to reproduce it. Read the code that "
     "the error names before you change anything. Change one thing at a time and run the command again after each. "
     "Report the cause, not only the change."},
    {"review_changes", "Review what was changed", "Look at everything that a sandbox's work has changed", "", "",
     "Review the work in the sandbox {id}. Read git_diff and sandbox_changes (which also shows what git ignores), then "
     "sandbox_events for what was run and "
     "which hosts were reached. Say what is good, what is wrong, and what is missing; name files and lines."},
};

std::string filled(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

}  // namespace

json platform_prompts(const view& v) {
  json list = json::array();
  for (const prompt_row& row : rows) {
    json arguments = json::array();
    if (v.sandbox().empty())
      arguments.push_back({{"name", "id"}, {"description", "Id of the sandbox"}, {"required", true}});
    if (*row.extra != '\0')
      arguments.push_back({{"name", row.extra}, {"description", row.extra_about}, {"required", true}});
    json one{{"name", row.name}, {"title", row.title}, {"description", row.description}};
    one["arguments"] = std::move(arguments);
    list.push_back(std::move(one));
  }
  return list;
}

result<json> platform_prompt(const view& v, const std::string& name, const json& arguments) {
  for (const prompt_row& row : rows) {
    if (name != row.name) continue;
    const auto value = [&arguments](const char* key) {
      return arguments.contains(key) && arguments[key].is_string() ? arguments[key].get<std::string>() : std::string();
    };
    const std::string id = v.sandbox().empty() ? value("id") : v.sandbox();
    if (id.empty())
      return fail(errc::invalid_argument, "argument_missing", "the argument id is missing", "Give the id of a sandbox.",
                  "/id");
    if (*row.extra != '\0' && value(row.extra).empty())
      return fail(errc::invalid_argument, "argument_missing", "the argument " + std::string(row.extra) + " is missing",
                  "Give it.", "/" + std::string(row.extra));
    json message{{"role", "user"}};
    const std::string extra = *row.extra == '\0' ? std::string() : value(row.extra);
    std::string text = filled(row.text, "{id}", id);
    text = filled(std::move(text), "{extra}", extra);
    message["content"] = {{"type", "text"}, {"text", std::move(text)}};
    json body{{"description", row.description}};
    body["messages"] = json::array();
    body["messages"].push_back(std::move(message));
    return body;
  }
  return fail(errc::not_found, "no_such_prompt", "the prompt is gone", "List the prompts again.");
}

task<json> complete_argument(view_ptr v, json params) {
  constexpr std::size_t most = 100;
  const auto text = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>()
                                                                                 : std::string();
  };
  const json ref = params.value("ref", json());
  const json argument = params.value("argument", json());
  const std::string type = text(ref, "type"), which = type == "ref/prompt" ? text(ref, "name") : text(ref, "uri");
  const std::string name = text(argument, "name"), begun = text(argument, "value");
  if ((type != "ref/prompt" && type != "ref/resource") || which.empty() || name.empty())
    co_return fail(errc::invalid_argument, "bad_reference",
                   "ref must name a prompt or a resource template, and argument an argument",
                   "See completion/complete.");
  const auto& list = v->list(type == "ref/prompt" ? mcp::list_kind::prompts : mcp::list_kind::templates);
  const bool known = std::any_of(list.begin(), list.end(), [&](const json& row) {
    return row.value("name", "") == which || row.value("uriTemplate", "") == which;
  });
  if (!known)
    co_return fail(errc::invalid_argument, "bad_reference", "there is no " + which.substr(0, 100),
                   "List what there is.");
  std::vector<std::string> values;
  const bool session = name == "session";
  if (session || name == "id") {
    json all = json::object();
    auto boxes = co_await v->invoke("sandbox.list", all);
    if (boxes.has_error()) co_return boxes.error();
    for (const json& box : boxes->body) {
      const std::string value = text(box, session ? "session_id" : "id");
      if (box.value("status", "") != "destroyed" && value.starts_with(begun)) values.push_back(value);
    }
  } else if (name == "path" && type == "ref/resource") {
    const json context = params.value("context", json::object());
    const std::string id = v->sandbox().empty() ? text(context.value("arguments", json::object()), "id") : v->sandbox();
    // As the template has it, without the slash in front.
    const std::string folder = "/" + begun.substr(0, begun.find_last_of('/') + 1);
    json where{{"id", id}, {"path", folder}, {"limit", 10'000}};
    auto entries = co_await v->invoke("file.list", where);
    // A folder that is not there has no files; neither has a sandbox that was not named.
    for (const json& entry : entries.has_value() ? entries->body : json::array()) {
      const std::string path = entry.value("path", "/").substr(1) + (entry.value("type", "") == "directory" ? "/" : "");
      if (path.starts_with(begun)) values.push_back(path);
    }
  }
  const std::size_t total = values.size();
  if (values.size() > most) values.resize(most);
  json completion{{"values", values}, {"total", total}, {"hasMore", total > values.size()}};
  json body = json::object();
  body["completion"] = std::move(completion);
  co_return body;
}

}  // namespace caged::transport_mcp
