// The operation registry as transports and tool plugins see it: each thing Caged can do, once, with its schemas.
#pragma once

#include <caged/json.hpp>
#include <caged/streams.hpp>
#include <caged/task.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace caged {

// What a key may do. read < sandbox < full.
//   read:    look, never change          sandbox: also act inside sandboxes and make and end them
//   full:    also keys, configuration and everything of the host
enum class scope : std::uint8_t { unset = 0, open, read, sandbox, full };
std::string_view to_string(scope s) noexcept;
result<scope> parse_scope(std::string_view text);  // accepts "read_only" for read

// How input beyond the JSON arguments and output beyond a JSON body travel.
enum class payload : std::uint8_t {
  document = 1,  // JSON: arguments and answer are JSON documents
  bytes,     // input: request body as bytes (call::body); output: reply::bytes
  items,     // output only: a live stream of items (SSE)
  duplex,    // a conversation over WebSocket; the answer runs until one side closes
};

struct operation_example {
  std::string summary;
  json input;
  json output;
};

// The declaration of one operation. Transports derive routes, tools, commands and documents from it.
struct operation_info {
  std::string name;         // "sandbox.exec"
  std::string summary;      // one line, for tables and tool lists
  std::string description;  // for people and models; Markdown
  scope needs = scope::full;
  json input;               // JSON Schema 2020-12, type object
  json output;              // JSON Schema of the answer, or of one item for payload::items
  payload takes = payload::document;
  payload gives = payload::document;
  // HTTP: method and path with {parameters}, each parameter a property of `input`. Properties not in the path come
  // from the query (GET, DELETE, bytes) or the JSON body.
  std::string method;       // "POST"
  std::string path;         // "/v1/sandboxes/{id}/exec"
  int success = 200;        // 200, 201 or 204 (204: the answer is empty)
  bool read_only = false;   // changes nothing
  bool destructive = false; // may lose data
  bool idempotent = false;  // doing it twice is doing it once
  std::vector<operation_example> examples;
};

// Who asks. Made by authenticate(), carried by every call.
struct caller {
  std::string key_id;             // "" for an unauthenticated caller
  std::string name;
  scope granted = scope::open;
  std::string sandbox_id;         // not empty: the credential is good for this sandbox only
};

struct call {
  std::string operation;
  json arguments = json::object();
  caller who;
  std::string transport;                // "rest", "mcp": goes into the event
  std::string agent;                    // kind of agent the client says it is, "" = says nothing
  std::string client;                   // what the client calls itself: User-Agent, MCP clientInfo
  std::string media_type;               // of `body`
  std::shared_ptr<byte_source> body;    // for takes == bytes
  std::string resume_after;             // Last-Event-ID for item streams
  std::shared_ptr<duplex> conversation; // for gives == duplex
};

struct reply {
  json body;                                // gives == document
  std::shared_ptr<byte_source> bytes;       // gives == bytes
  std::string media_type;                   // of `bytes`
  std::vector<std::pair<std::string, std::string>> headers;  // extra, e.g. Content-Range, ETag
  int status = 0;                           // 0 = operation_info::success
  std::shared_ptr<item_source> items;       // gives == items
};

using operation_handler = std::function<task<reply>(call)>;

// Service of the host. list() is stable after the host serves; invoke() walks the one road: scope → schema → policy →
// act → event. All methods may be called from any coroutine on the host's executor.
class operations {
 public:
  static constexpr std::string_view interface_name = "caged.operations.v1";
  virtual ~operations() = default;

  virtual std::vector<const operation_info*> list() const = 0;
  virtual const operation_info* find(std::string_view name) const = 0;

  // A key ("caged_sk_…"), or nothing. The error is unauthenticated. Constant time in the secret.
  virtual task<caller> authenticate(std::string credential) = 0;
  // A single-use ticket ("caged_wst_…") for a WebSocket handshake; a second use or one after 60 s is refused.
  virtual task<caller> redeem_ticket(std::string ticket) = 0;

  virtual task<reply> invoke(call c) = 0;

  // For tool plugins, before the host serves. Names must be new; schemas must compile.
  virtual result<void> add(operation_info info, operation_handler handler) = 0;
};

}  // namespace caged
