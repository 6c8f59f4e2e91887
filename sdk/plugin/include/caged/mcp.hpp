// Tools, resources and prompts that a plugin adds to the Model Context Protocol, beyond operations (which appear there
// by themselves).
#pragma once

#include <caged/operation.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace caged::mcp {

// One call under way. Used by its handler only; may be kept beyond it.
class context {
 public:
  virtual ~context() = default;
  virtual const json& arguments() const = 0;  // of a tool or prompt; of a resource the values of its template
  virtual const json& params() const = 0;     // everything, of completions
  virtual const std::string& name() const = 0;  // of the tool or prompt; the address of the resource
  virtual const caller& who() const = 0;
  // "sampling", "roots", "elicitation" …: what the client declared.
  virtual bool client_can(std::string_view capability) const = 0;
  virtual bool cancelled() const = 0;

  // Rises, or is dropped. Sent only to who asked for it.
  virtual void progress(double value, std::optional<double> total, std::string message) = 0;
  // `level` is one of the eight of syslog.
  virtual void log(std::string_view level, json data) = 0;
  // Asks the client: key → {method, params} of elicitation/create, sampling/createMessage or roots/list; answers
  // key → result. In the stateless revision the call ends here with `cancelled` and is made again with the answers, so
  // a handler does nothing it would not do twice before it has asked everything. On any error just return it.
  virtual task<json> ask(json requests) = 0;
  // Lets the client follow the rest as a task. `true` when it does; an error when `required` and it cannot: return it.
  enum class need : std::uint8_t { unset = 0, optional, required };
  virtual result<bool> become_task(need n) = 0;
  // Ends the connection early; the client fetches the answer later. Without effect where that is not possible.
  virtual void hang_up() = 0;
  // A protocol error instead of a result. Return anything after it.
  virtual void refuse(int code, std::string message, json data) = 0;
};

// The result as the protocol has it: {content: […]} of a tool, {contents: […]} of a resource, {messages: […]} of a
// prompt, {completion: {…}}. An error becomes a tool's failure, which the model reads, or a protocol error.
using handler = std::function<task<json>(std::shared_ptr<context>)>;

enum class kind : std::uint8_t { unset = 0, tool, resource, resource_template, prompt };

// Extension of the MCP transport. Transports open after tools: ask for it in serve(), when all plugins are open.
class catalogue {
 public:
  static constexpr std::string_view interface_name = "caged.mcp_catalogue.v1";
  virtual ~catalogue() = default;

  // `declaration` as the newest revision has it: name or uri or uriTemplate ("{name}" parts only), description,
  // inputSchema … Only callers with `needs` see it. Errors: invalid_argument, conflict.
  virtual result<void> add(kind what, json declaration, scope needs, handler run) = 0;
  // Answers completion/complete for a prompt's name or a template's text.
  virtual result<void> add_completion(std::string reference, handler run) = 0;
  virtual void remove(kind what, std::string_view name) = 0;
  // Tells who listens. add() and remove() do so themselves.
  virtual void list_changed(kind what) = 0;
  virtual void resource_changed(const std::string& uri) = 0;
};

}  // namespace caged::mcp
