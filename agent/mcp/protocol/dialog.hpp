// One conversation in MCP, without any I/O: messages in, messages out. Both eras: the handshake revisions and the
// stateless one, told apart per message.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "mcp/protocol/tool.hpp"

namespace caged::mcp {

enum class error_code : int {
  unset = 0,
  parse_error = -32700,
  invalid_request = -32600,
  method_not_found = -32601,
  invalid_params = -32602,
  internal_error = -32603,
  header_mismatch = -32020,
  unsupported_version = -32022,
};

// Where the answers to one received text go. Called on the dialog's thread.
class outlet {
 public:
  enum class kind : std::uint8_t {
    unset = 0,
    answer,        // the last message of its request
    notification,  // about a request that is under way
  };
  virtual ~outlet() = default;
  // `text` is one whole message on one line. `http_status` is what an HTTP answer with it has.
  virtual void send(std::string text, kind what, int http_status) = 0;
};

struct identity {
  std::string name, title, version, instructions;
};

// Single-threaded.
class dialog : public std::enable_shared_from_this<dialog> {
 public:
  static constexpr std::size_t max_in_flight = 1024;
  static constexpr std::size_t max_batch = 100;

  static std::shared_ptr<dialog> make(toolbox& tools, identity who);

  // One message as framed by the transport. Whatever it holds, it is answered as JSON-RPC demands and nothing else
  // happens. `to` is kept as long as the request is under way.
  void receive(std::string_view text, const std::shared_ptr<outlet>& to);
  // The same with the text parsed already.
  void receive_parsed(json message, const std::shared_ptr<outlet>& to);
  // A text that could not be framed (too long, not text): answered as a parse error.
  void refuse(std::string_view why, const std::shared_ptr<outlet>& to);
  // Cancels whatever is under way; nothing is sent any more.
  void close();

  std::size_t in_flight() const noexcept { return calls_.size(); }
  // Calls of tools under way; not what is open until the client ends it.
  std::size_t working() const noexcept;
  // What was agreed by initialize; unset before.
  revision agreed() const noexcept { return agreed_; }
  // For a transport that keeps the session apart from the dialog.
  void agree(revision r) noexcept { agreed_ = r; }

 private:
  friend class tool_call;
  struct request;
  dialog(toolbox& tools, identity who);
  void one(json message, const std::shared_ptr<outlet>& to);
  void batch(json messages, const std::shared_ptr<outlet>& to);
  void notification(const json& message);
  bool open_envelope(request& r);
  void legacy(request& r);
  void stateless(request& r);
  void initialize(request& r);
  void discover(request& r);
  void listen(request& r);
  void tools_list(request& r);
  void tools_call(request& r);
  void cancel(const std::string& id);
  void result(const request& r, std::string_view body);
  void error(const request& r, error_code code, std::string message, json data = nullptr, int http_status = 200);
  void finish(tool_call& call, std::string body);
  const std::string& list_text(revision r);
  std::string decorations() const;
  void answer(tool_call& call, tool_result result);
  void refuse_arguments(tool_call& call, std::string text);

  toolbox& tools_;
  identity who_;
  revision agreed_ = revision::unset;
  bool stateless_seen_ = false;
  std::map<std::string, std::shared_ptr<tool_call>> calls_;  // by the JSON text of the id: 1 and "1" differ
  std::map<revision, std::string> lists_;
};

}  // namespace caged::mcp
