// What a tool is to the protocol: its description, one call of it, and the box of all tools.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mcp/protocol/json_text.hpp"
#include "mcp/protocol/revision.hpp"

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

class dialog;

// One call under way. All of it happens on the thread of the dialog, but cancelled().
class tool_call : public std::enable_shared_from_this<tool_call> {
 public:
  const std::string& tool() const noexcept { return tool_; }
  const json& arguments() const noexcept { return arguments_; }
  revision spoken() const noexcept { return revision_; }
  // Answers. Later answers, and answers to a cancelled call, go nowhere.
  void answer(tool_result result);
  // Answers with a failure of the tool: `text` is for the model.
  void fail(std::string text);
  // The arguments do not fit the schema: a result or a protocol error, as the revision says.
  void refuse_arguments(std::string text);
  // Told to the client when it asked to be told and `value` is higher than the last.
  void progress(double value, std::optional<double> total, const std::string& message);
  bool wants_progress() const noexcept { return !progress_token_.is_null(); }

  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }
  // Called at once when the client has cancelled already.
  void on_cancel(std::function<void()> action);

 private:
  friend class dialog;
  tool_call() = default;
  std::weak_ptr<dialog> dialog_;
  std::string id_;  // as JSON text
  std::string tool_;
  json arguments_ = json::object();
  json progress_token_;
  double last_progress_ = -1;
  revision revision_ = revision::unset;
  std::shared_ptr<class outlet> outlet_;
  std::atomic<bool> cancelled_ = false;
  bool answered_ = false;
  std::function<void()> on_cancel_;
};

class toolbox {
 public:
  virtual ~toolbox() = default;
  // The same for everyone and for the whole life, in a fixed order.
  virtual const std::vector<tool_info>& tools() const = 0;
  // Starts a call of a tool that is in the list; sees to it that it is answered, now or later. Does not throw.
  virtual void start(const std::shared_ptr<tool_call>& call) = 0;
};

}  // namespace caged::mcp
