// Hostile lines through a whole dialog, and hostile commands through the list of allowed ones.
#include <cstdlib>

#include <caged/mcp/dialog.hpp>
#include "mcp/server/command_policy.hpp"
#include "mcp/server/shell_words.hpp"

namespace {

using namespace caged::mcp;

struct checker : outlet {
  void send(std::string text, kind, int) override {
    // Whatever came in, what goes out is one message on one line.
    if (text.find('\n') != std::string::npos) std::abort();
    const json message = json::parse(text, nullptr, false);
    if (message.is_discarded() || (message.is_object() && message.value("jsonrpc", "") != "2.0")) std::abort();
    if (message.is_object() && message.contains("id") && message.at("id") == "alive") alive = true;
  }
  bool alive = false;
};

struct bench : toolbox {
  bench() {
    for (const char* name : {"now", "later"})
      infos.push_back({name, "T", "D", R"({"type":"object","properties":{}})", R"({"type":"object"})", read_only});
  }
  const std::vector<tool_info>& tools() const override { return infos; }
  void start(const std::shared_ptr<tool_call>& call) override {
    call->progress(1, 2, "begun");
    if (call->tool() == "later") return waiting.push_back(call);
    tool_result r;
    r.text = call->arguments().dump(-1, ' ', false, json::error_handler_t::replace);
    r.structured = call->arguments();
    call->answer(std::move(r));
  }
  std::vector<tool_info> infos;
  std::vector<std::shared_ptr<tool_call>> waiting;
};

void talk(const std::string& text) {
  bench tools;
  const auto out = std::make_shared<checker>();
  const auto d = dialog::make(tools, {"server", "Server", "1", ""});
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    d->receive(std::string_view(text).substr(at, end - at), out);
    at = end + 1;
  }
  for (const auto& call : tools.waiting) call->fail(text);
  d->receive(R"({"jsonrpc":"2.0","id":"alive","method":"ping"})", out);
  if (!out->alive && d->in_flight() == 0) std::abort();
  d->close();
}

void command(const std::string& text) {
  static const std::vector<std::string> allowed{"ls", "echo", "cat", "find", "grep"};
  static const command_policy policy(allowed);
  std::string checked;
  try {
    checked = policy.checked(text);
  } catch (const caged::wire::failed&) {
    return;
  }
  // What was let through names only what is allowed, also to a second reading.
  for (const simple_command& c : read_shell_command(checked)) {
    std::size_t at = 0;
    while (at < c.words.size() && c.words[at].name_size > 0) ++at;
    if (at == c.words.size() || !policy.allows(c.words[at].value)) std::abort();
  }
  if (policy.checked(checked) != checked) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  talk(text);
  command(text);
  return 0;
}
