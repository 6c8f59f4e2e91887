// What a server offers to the protocol: descriptions of tools, resources and prompts, and one call of them under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <caged/mcp/json_text.hpp>
#include <caged/mcp/revision.hpp>

namespace caged::mcp {

// Every hint is stated, none is left to its default.
enum hint : std::uint8_t { no_hints = 0, read_only = 1, destructive = 2, idempotent = 4, open_world = 8 };

struct tool_info {
  std::string name;
  const char* title;
  const char* description;
  const char* input_schema;   // JSON text
  const char* output_schema;  // JSON text of the structured content
  std::uint8_t hints;
  int max_result_characters = 0;  // 0: nothing is said to the client
};

// What a tool answers. `structured` is an object that fits the output schema; null only together with failure.
struct tool_result {
  enum class outcome : std::uint8_t { unset = 0, success, failure };
  struct image {
    std::string mime_type, base64;
  };
  outcome how = outcome::success;
  std::string text;
  std::optional<image> picture;
  json structured;
};

enum class log_severity : std::uint8_t { unset = 0, debug, info, notice, warning, error, critical, alert, emergency };
std::string_view name_of(log_severity s) noexcept;
log_severity severity_of(std::string_view name) noexcept;  // unset for a name that is none

enum class task_need : std::uint8_t { unset = 0, optional, required };
enum class list_kind : std::uint8_t { unset = 0, tools, resources, templates, prompts };

// Optional abilities; tools are always offered.
enum ability : std::uint8_t {
  no_abilities = 0,
  resources_and_templates = 1,
  prompts = 2,
  completions = 4,
  logging = 8,
  changes = 16,
  long_tasks = 32
};

class dialog;
struct task_record;

// One tools/call, resources/read, prompts/get or completion/complete under way. All of it happens on the thread of the
// dialog, but cancelled(). Answers after the first, and answers to a cancelled call, go nowhere.
class tool_call : public std::enable_shared_from_this<tool_call> {
 public:
  // `responses`: key → what the client answered. nullopt: the call has ended (cancelled, or the client will come back
  // with the answers and the handler will run anew).
  using answers = std::function<void(std::optional<json> responses)>;

  const std::string& method() const noexcept { return method_; }
  // The name of the tool or prompt, or the address of the resource; empty for completions.
  const std::string& tool() const noexcept { return tool_; }
  const json& arguments() const noexcept { return arguments_; }
  // The whole params, of everything but tools/call.
  const json& params() const noexcept { return params_; }
  revision spoken() const noexcept { return revision_; }
  // Whether the client declared it: "sampling", "roots", "elicitation", "elicitation/url", "extensions/NAME".
  bool client_can(std::string_view path) const;

  void answer(tool_result result);
  // Answers with a whole result as the newest revision has it; what older ones lack is taken out.
  void answer_document(json result);
  // Answers with a failure of the tool: `text` is for the model.
  void fail(std::string text);
  // Answers with a protocol error.
  void refuse(int code, std::string message, json data = nullptr, int http_status = 200);
  void refuse_unknown_resource(const std::string& uri);
  // The arguments do not fit the schema: a result or a protocol error, as the revision says.
  void refuse_arguments(std::string text);
  // Told to the client when it asked to be told and `value` is higher than the last.
  void progress(double value, std::optional<double> total, const std::string& message);
  bool wants_progress() const noexcept { return !progress_token_.is_null(); }
  void log(log_severity severity, const json& data, const std::string& logger = {});

  // Asks the client: key → {method, params} of elicitation/create, sampling/createMessage or roots/list. In the
  // handshake revisions these are requests to the client; in the stateless one the call ends and is made again with
  // the answers, so that a handler runs from its beginning until all it asks is answered. What the client did not
  // declare it can do ends the call with an error.
  void ask(const json& requests, answers then);
  // Answers that the work goes on as a task, where the client can follow one. False when it goes on as a call, or has
  // ended because it was required and the client cannot.
  bool become_task(task_need need);
  // Lets go of the connection that waits for the answer, which the client can fetch later. Where that is not possible,
  // nothing happens.
  void hang_up();

  bool answered() const noexcept { return answered_; }
  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }
  // Called at once when the client has cancelled already.
  void on_cancel(std::function<void()> action);

 private:
  friend class dialog;
  friend class task_store;
  tool_call() = default;
  bool may_ask(const json& requests);
  void give_up_questions();
  std::weak_ptr<dialog> dialog_;
  std::string id_;  // as JSON text
  std::string method_, tool_;
  json arguments_ = json::object(), params_, capabilities_;
  json collected_ = json::object();  // what the client answered so far
  std::string digest_;  // of what was asked for; seals are good for this only
  json progress_token_;
  double last_progress_ = -1;
  revision revision_ = revision::unset;
  log_severity log_from_ = log_severity::unset;
  std::shared_ptr<class outlet> outlet_;
  std::atomic<bool> cancelled_ = false;
  bool answered_ = false;
  std::function<void()> on_cancel_;
  answers then_;
  json open_questions_;
  std::shared_ptr<task_record> task_;
};

class toolbox {
 public:
  virtual ~toolbox() = default;
  virtual int abilities() const { return no_abilities; }
  virtual const std::vector<tool_info>& tools() const;
  // Declarations as the newest revision has them, an array in a fixed order, the same for the whole life of a dialog
  // unless the change is told to the audience. By default the tools above and nothing else.
  virtual const json& list(list_kind which) const;
  // Whether a list has to be asked for: start() gets a call of "resources/list" then, and its params have the cursor.
  virtual bool lists_later(list_kind) const { return false; }
  // Starts a call; of tools and prompts only what is in the list. Sees to it that it is answered, now or later. Does
  // not throw.
  virtual void start(const std::shared_ptr<tool_call>& call) = 0;
  // Somebody wants to know, or does no longer, when this resource changes.
  virtual void watch(const std::string&) {}
  virtual void unwatch(const std::string&) {}

 private:
  mutable json listed_;
};

// The entry of a list with this name (or uri), nullptr when there is none.
const json* find_declaration(const json& list, std::string_view name);

}  // namespace caged::mcp
