// One conversation in MCP, without any I/O: messages in, messages out. Both eras: the handshake revisions and the
// stateless one, told apart per message.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include <caged/mcp/audience.hpp>
#include <caged/mcp/call.hpp>
#include <caged/mcp/headers.hpp>
#include <caged/mcp/tasks.hpp>

namespace caged::mcp {

enum class error_code : int {
  unset = 0,
  parse_error = -32700,
  invalid_request = -32600,
  method_not_found = -32601,
  invalid_params = -32602,
  internal_error = -32603,
  resource_not_found = -32002,
  header_mismatch = -32020,
  missing_capability = -32021,
  unsupported_version = -32022,
};

// Where the answers to one received text go. Called on the dialog's thread.
class outlet {
 public:
  enum class kind : std::uint8_t {
    unset = 0,
    answer,        // the last message of its request
    notification,  // about a request that is under way, or about what is subscribed to
    request,       // of ours to the client
  };
  virtual ~outlet() = default;
  // `text` is one whole message on one line. `http_status` is what an HTTP answer with it has.
  virtual void send(std::string text, kind what, int http_status) = 0;
  // Ends the connection early where the client can come back for the rest.
  virtual void hang_up() {}
};

struct identity {
  std::string name, title, version, instructions;
};

// Makes what is given out unforgeable. Thread-safe.
class sealer {
 public:
  virtual ~sealer() = default;
  virtual std::string seal(const std::string& text) const = 0;
  // nullopt when it is not a seal of ours.
  virtual std::optional<std::string> open(const std::string& sealed) const = 0;
};

// What a dialog lives in. Parts that are null are not offered.
struct surroundings {
  std::shared_ptr<toolbox> content;
  identity who;
  std::shared_ptr<audience> hearers;
  std::shared_ptr<task_store> tasks;
  std::shared_ptr<const sealer> seals;
  std::string principal;  // whom tasks and seals are bound to
};

// Single-threaded.
class dialog : public std::enable_shared_from_this<dialog>, public audience::hearer {
 public:
  static constexpr std::size_t max_in_flight = 1024;
  static constexpr std::size_t max_batch = 100;
  static constexpr std::size_t page_entries = 500;
  static constexpr std::size_t max_subscriptions = 256;

  static std::shared_ptr<dialog> make(surroundings in);
  // `tools` outlives the dialog.
  static std::shared_ptr<dialog> make(toolbox& tools, identity who);

  // One message as framed by the transport. Whatever it holds, it is answered as JSON-RPC demands and nothing else
  // happens. `to` is kept as long as the request is under way.
  void receive(std::string_view text, const std::shared_ptr<outlet>& to);
  // The same with the text parsed already; `fields` of the HTTP request it came in, to be compared with it.
  void receive_parsed(json message, const std::shared_ptr<outlet>& to, const http_fields* fields = nullptr);
  // A text that could not be framed (too long, not text): answered as a parse error.
  void refuse(std::string_view why, const std::shared_ptr<outlet>& to);
  // Cancels whatever is under way; nothing is sent any more.
  void close();
  // Ends what is open until somebody ends it, as a server does that goes away.
  void farewell();
  // Where messages go that belong to no request. Not owned.
  void unsolicited_to(std::weak_ptr<outlet> to) { unsolicited_ = std::move(to); }

  std::size_t in_flight() const noexcept { return calls_.size(); }
  // Calls under way; not what is open until the client ends it.
  std::size_t working() const noexcept;
  // What was agreed by initialize; unset before.
  revision agreed() const noexcept { return agreed_; }
  // For a transport that keeps the session apart from the dialog.
  void agree(revision r) noexcept { agreed_ = r; }

  void changed(list_kind which) override;
  void resource_changed(const std::string& uri) override;

 private:
  friend class tool_call;
  struct request;
  struct listener;
  explicit dialog(surroundings in);
  // dialog.cpp
  void one(json message, const std::shared_ptr<outlet>& to, const http_fields* fields);
  void batch(json messages, const std::shared_ptr<outlet>& to);
  void notification(const json& message);
  void response(const json& message);
  bool open_envelope(request& r, const http_fields* fields);
  void cancel(const std::string& id);
  void result(const request& r, std::string_view body);
  void error(const request& r, error_code code, std::string message, json data = nullptr, int http_status = 200);
  // eras.cpp
  void legacy(request& r);
  void stateless(request& r, const http_fields* fields);
  bool known_method(const request& r) const;
  bool fields_agree(const request& r, const http_fields& fields);
  void initialize(request& r);
  void discover(request& r);
  json capabilities(revision r) const;
  void set_level(request& r);
  void show_list(request& r, list_kind which);
  const std::string& list_text(list_kind which, revision r);
  // subscriptions.cpp
  void subscribe(request& r);
  void unsubscribe(request& r);
  void listen(request& r);
  void stop_listening(listener& l);
  void notify(const std::string& method, const json& params);
  // calls.cpp
  bool begin(request& r, const char* name_member, list_kind where);
  bool take_answers(request& r, tool_call& call);
  void finish(tool_call& call, std::string body, int http_status = 200);
  void answer(tool_call& call, tool_result result);
  void refuse_arguments(tool_call& call, std::string text);
  void ask(tool_call& call, const json& requests);
  void task_method(request& r);

  surroundings in_;
  revision agreed_ = revision::unset;
  bool stateless_seen_ = false;
  json client_capabilities_;
  log_severity log_from_ = log_severity::info;
  std::weak_ptr<outlet> unsolicited_;
  std::map<std::string, std::shared_ptr<tool_call>> calls_;  // by the JSON text of the id: 1 and "1" differ
  std::map<std::string, std::shared_ptr<listener>> listeners_;
  std::set<std::string> subscribed_;
  std::map<std::string, std::pair<std::weak_ptr<tool_call>, std::string>> asked_;  // our id → call, key
  std::uint64_t last_asked_ = 0;
  std::map<std::pair<list_kind, revision>, std::string> lists_;
};

// The members that every result of the stateless era has, without braces.
std::string decorations(const identity& who, std::string_view result_type = "complete");

}  // namespace caged::mcp
