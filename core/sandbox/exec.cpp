#include "core/sandbox/exec.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

namespace caged::sandbox {
namespace {

void keep_within(std::string& kept, std::string_view piece, exec_outcome& o, std::size_t limit) {
  const std::size_t room = limit > kept.size() ? limit - kept.size() : 0;
  kept.append(piece.substr(0, room));
  if (piece.size() > room) o.dropped += piece.size() - room;
}

task<void> collect(std::shared_ptr<agent_process> process, exec_outcome* o, std::size_t keep) {
  while (true) {
    auto item = co_await process->next();
    if (!item) co_return item.error();
    if (!*item) co_return result<void>{};
    process_item& i = **item;
    if (i.what == process_item::kind::exit) {
      o->exit = std::move(i.exit);
      continue;
    }
    std::string& stream = i.what == process_item::kind::out ? o->out : o->err;
    const std::size_t before = stream.size();
    keep_within(stream, i.data, *o, keep);
    o->merged.append(i.data, 0, stream.size() - before);
  }
}

asio::awaitable<void> kill_tree(std::shared_ptr<agent_client> client, std::string id) {
  json arguments{{"id", id}, {"signal", "SIGKILL"}};
  (void)co_await client->request("process.signal", std::move(arguments));
}

}  // namespace

task<void> feed(std::shared_ptr<agent_process> process, std::shared_ptr<byte_source> bytes) {
  while (bytes) {
    auto piece = co_await bytes->read();
    if (!piece) {
      (void)co_await process->close_stdin();  // or the process would wait for the rest until its time runs out
      co_return piece.error();
    }
    if (piece->empty()) break;
    if (auto written = co_await process->write_stdin(std::move(*piece)); !written) co_return result<void>{};
  }
  (void)co_await process->close_stdin();
  co_return result<void>{};
}

json exit_body(const json& exit) {
  json body{{"exit_code", exit.value("exit_code", json(nullptr))},
            {"signal", exit.value("signal", json(nullptr))},
            {"timed_out", exit.value("timed_out", false)},
            {"out_of_memory", exit.value("out_of_memory", false)},
            {"duration_ms", exit.value("duration_ms", json(0))}};
  body["usage"] = {{"user_ms", exit.value("user_ms", json(0))},
                   {"system_ms", exit.value("system_ms", json(0))},
                   {"max_rss_kb", exit.value("max_rss_kb", json(0))}};
  return body;
}

task<exec_outcome> exec_buffered(std::shared_ptr<agent_client> client, exec_request request) {
  using namespace asio::experimental::awaitable_operators;
  // A cancelled caller must not unwind this coroutine before the process tree has been killed.
  co_await asio::this_coro::throw_if_cancelled(false);
  request.arguments["timeout_ms"] = request.limit.count();
  request.arguments["stdin"] = request.stdin_bytes != nullptr;
  auto started = co_await client->start("exec.start", std::move(request.arguments));
  if (!started) co_return started.error();
  auto process = *started;
  auto outcome = std::make_shared<exec_outcome>();
  outcome->process_id = process->id();
  outcome->pid = process->pid();
  if (request.on_start) request.on_start(*process);
  result<void> collected, fed;
  if (request.stdin_bytes) {
    // The feeder alone may fail or end early; the collector always runs to the exit.
    auto feeding =
        asio::co_spawn(co_await asio::this_coro::executor, feed(process, request.stdin_bytes), asio::use_awaitable);
    auto both = co_await (collect(process, outcome.get(), request.keep) && std::move(feeding));
    collected = std::get<0>(both);
    fed = std::get<1>(both);
  } else {
    collected = co_await collect(process, outcome.get(), request.keep);
  }
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    asio::co_spawn(co_await asio::this_coro::executor, kill_tree(client, process->id()), asio::detached);
    co_return fail(errc::cancelled, "cancelled", "the command was cancelled by its caller");
  }
  if (!collected) co_return collected.error();
  if (!fed) co_return fed.error();
  if (outcome->exit.is_null())
    co_return fail(errc::unavailable, "sandbox_lost", "the sandbox ended before the command's exit was known",
                   "See `caged status`.");
  co_return std::move(*outcome);
}

bool is_utf8(std::string_view bytes) noexcept {
  std::size_t i = 0;
  while (i < bytes.size()) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    std::size_t more = 0;
    unsigned low = 0x80, high = 0xBF;  // of the first continuation byte: shuts out overlong forms and surrogates
    if (lead < 0x80) {
      ++i;
      continue;
    }
    if (lead >= 0xC2 && lead <= 0xDF)
      more = 1;
    else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    if (i + more >= bytes.size()) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto c = static_cast<unsigned char>(bytes[i + k]);
      if (c < low || c > high) return false;
      low = 0x80;
      high = 0xBF;
    }
    i += more + 1;
  }
  return true;
}

std::string to_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  // nlohmann's replacing dump is the one implementation of replacement here.
  return json::parse(to_text(json(std::string(bytes)))).get<std::string>();
}

}  // namespace caged::sandbox
