#include "core/operation/conversation.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "core/sandbox/exec.hpp"

namespace caged::operation {
namespace {

using sandbox::agent_client;
using sandbox::agent_process;
using sandbox::process_item;

class text_source : public byte_source {
 public:
  explicit text_source(std::string bytes) : bytes_(std::move(bytes)), size_(bytes_.size()) {}
  task<std::string> read() override {
    std::string piece = bytes_.substr(at_, 256 * 1024);
    at_ += piece.size();
    co_return piece;
  }
  std::optional<std::uint64_t> size() const override { return size_; }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
  std::uint64_t size_;
};

// Bytes at the end of `bytes` that begin a UTF-8 character without finishing it, 0..3.
std::size_t unfinished_tail(std::string_view bytes) {
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto c = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((c & 0xC0) == 0x80) continue;
    const std::size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    return need > back ? back : 0;
  }
  return 0;
}

task<void> send_text(std::shared_ptr<duplex> client, std::string text) {
  stream_message m{true, std::move(text)};
  co_return co_await client->write(std::move(m));
}

task<void> send_problem(std::shared_ptr<duplex> client, const error e) {
  json told{{"type", "error"}, {"reason", e.reason}, {"message", e.message}, {"action", e.action}};
  std::string text = to_text(told);
  co_return co_await send_text(client, std::move(text));
}

// One control message of the client; errors are the client's and do not end the conversation.
task<void> obey(std::shared_ptr<duplex> client, std::shared_ptr<agent_client> agent,
                std::shared_ptr<agent_process> process, json message) {
  const std::string type = message.is_object() && message.contains("type") && message["type"].is_string()
                               ? message["type"].get<std::string>()
                               : "";
  if (type == "stdin" || type == "input") {
    if (!message.contains("data") || !message["data"].is_string())
      co_return fail(errc::invalid_argument, "bad_frame", type + " has no text in \"data\"",
                     "Send {\"type\":\"" + type + "\",\"data\":\"…\"}.");
    co_return co_await process->write_stdin(message["data"].get<std::string>());
  }
  if (type == "stdin_close") co_return co_await process->close_stdin();
  if (type == "ping") {
    std::string pong = R"({"type":"pong"})";
    co_return co_await send_text(client, std::move(pong));
  }
  if (type == "resize") {
    const auto rows = message.value("rows", json()), cols = message.value("cols", json());
    if (!rows.is_number_integer() || !cols.is_number_integer() || rows.get<std::int64_t>() < 1 ||
        cols.get<std::int64_t>() < 1 || rows.get<std::int64_t>() > 4096 || cols.get<std::int64_t>() > 4096)
      co_return fail(errc::invalid_argument, "bad_frame", "resize wants rows and cols from 1 to 4096",
                     "Send {\"type\":\"resize\",\"rows\":24,\"cols\":80}.");
    co_return co_await process->resize(static_cast<int>(cols.get<std::int64_t>()),
                                       static_cast<int>(rows.get<std::int64_t>()));
  }
  if (type == "signal") {
    json arguments{{"id", process->id()}, {"signal", message.value("signal", json("SIGTERM"))}};
    auto done = co_await agent->request("process.signal", std::move(arguments));
    if (!done) co_return done.error();
    co_return result<void>{};
  }
  co_return fail(errc::invalid_argument, "bad_frame", "a frame of type \"" + type + "\" is not known",
                 "Use stdin, stdin_close, signal, resize or ping.");
}

task<void> listen(std::shared_ptr<duplex> client, std::shared_ptr<agent_client> agent,
                  std::shared_ptr<agent_process> process) {
  while (true) {
    auto got = co_await client->read();
    if (!got) co_return got.error();
    if (!*got) co_return result<void>{};
    stream_message m = std::move(**got);
    result<void> done;
    if (!m.text) {
      done = co_await process->write_stdin(std::move(m.data));
    } else if (auto message = parse_json(m.data); message) {
      done = co_await obey(client, agent, process, std::move(*message));
    } else {
      done = message.error();
    }
    // A process that ended or closed its stdin is no failure of the conversation; its exit is on its way.
    if (!done && done.error().code == errc::invalid_argument)
      if (auto told = co_await send_problem(client, done.error()); !told) co_return told.error();
  }
}

std::string exit_text(const json& exit) {
  json told = sandbox::exit_body(exit);
  told["type"] = "exit";
  return to_text(told);
}

task<json> speak(std::shared_ptr<duplex> client, std::shared_ptr<agent_process> process,
                 talk_options::output_form form, std::function<void(std::string_view)> heard) {
  std::string held;  // the beginning of a character whose rest has not come yet
  while (true) {
    auto item = co_await process->next();
    if (!item) co_return item.error();
    if (!*item) co_return json(nullptr);
    process_item& i = **item;
    stream_message out{form == talk_options::output_form::text, {}};
    if (i.what == process_item::kind::exit) {
      if (!held.empty()) {
        out.data = to_text({{"type", "output"}, {"data", sandbox::to_utf8(held)}});
        if (auto sent = co_await client->write(out); !sent) co_return sent.error();
      }
      out.text = true;
      out.data = exit_text(i.exit);
      (void)co_await client->write(std::move(out));
      co_return std::move(i.exit);
    }
    if (heard) heard(i.data);
    if (form == talk_options::output_form::text) {
      held += i.data;
      const std::size_t rest = unfinished_tail(held);
      const std::string whole = held.substr(0, held.size() - rest);
      held.erase(0, whole.size());
      if (whole.empty()) continue;
      out.data = to_text({{"type", "output"}, {"data", sandbox::to_utf8(whole)}});
    } else {
      if (form == talk_options::output_form::tagged) out.data = i.what == process_item::kind::out ? '\1' : '\2';
      out.data += i.data;
    }
    if (auto sent = co_await client->write(std::move(out)); !sent) co_return sent.error();
  }
}

}  // namespace

task<json> talk(std::shared_ptr<duplex> client, std::shared_ptr<agent_client> agent,
                std::shared_ptr<agent_process> process, talk_options how) {
  using namespace asio::experimental::awaitable_operators;
  if (!how.greeting.empty())
    if (auto sent = co_await send_text(client, how.greeting); !sent) co_return sent.error();
  // Whoever ends first ends the conversation: the process (its exit was sent) or the client (the process goes on).
  auto outcome = co_await (speak(client, process, how.output, how.heard) || listen(client, agent, process));
  if (outcome.index() == 1) co_return json(nullptr);
  auto exit = std::get<0>(std::move(outcome));
  if (!exit) {
    (void)co_await send_problem(client, exit.error());
    co_return exit.error();
  }
  co_return std::move(*exit);
}

std::shared_ptr<byte_source> source_of(std::string bytes) { return std::make_shared<text_source>(std::move(bytes)); }

}  // namespace caged::operation
