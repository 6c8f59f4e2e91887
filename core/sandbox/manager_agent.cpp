// The connection to the agent in a sandbox: made when it is first needed, missed when it is lost, and what it reports.
#include "core/base/time.hpp"
#include "core/runtime/deadline.hpp"
#include "core/sandbox/exec.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
namespace {

constexpr auto agent_connect_limit = std::chrono::seconds(10);

}  // namespace

task<std::shared_ptr<agent_client>> manager::agent(std::shared_ptr<live> l) {
  const record& r = l->rec;
  if (r.status == state::pending) co_await wait_settled(r.id, agent_connect_limit);
  if (r.status == state::destroyed)
    co_return fail(errc::not_found, "sandbox_destroyed", "sandbox " + r.id + " is destroyed",
                   "Make a new one with `caged up`.", "/id");
  if (r.status == state::paused && parts_.config->wake_paused) {
    // Somebody else may have woken it meanwhile, which is as good.
    if (auto woken = co_await resume(r.id); !woken && r.status != state::running) co_return woken.error();
  }
  if (r.status != state::running) {
    std::string action = "See `caged status " + r.id + "`.";
    if (r.status == state::paused) action = "Resume it first: `caged resume " + r.id + "`.";
    std::string message = "sandbox " + r.id + " is " + std::string(to_string(r.status)) + ", not running";
    if (r.failure) message += ": " + r.failure->message;
    co_return fail(errc::conflict, "sandbox_not_running", message, action);
  }
  l->last_used = std::chrono::steady_clock::now();
  auto guard = co_await l->connecting.lock();
  if (l->client) co_return l->client;
  auto backend = backend_of(r);
  if (!backend) co_return backend.error();
  auto dial = (*backend)->connect(r.id);
  auto stream =
      co_await runtime::within<box_stream>(agent_connect_limit, "connecting to the agent of " + r.id, std::move(dial));
  if (!stream) co_return stream.error();
  auto opened = co_await agent_client::open(parts_.executor, std::move(*stream));
  if (!opened) co_return opened.error();
  attach(l, *opened);
  co_return l->client;
}

void manager::attach(std::shared_ptr<live> l, std::shared_ptr<agent_client> client) {
  l->client = client;
  client->on_notice(
      [this, weak = std::weak_ptr<live>(l)](std::string type, json data) { on_notice(weak, type, std::move(data)); });
  work_.spawn("connection of " + l->rec.id, forget_when_lost(l, client));
}

// A lost connection is dialled again by the next call; a lost box is told by watch_box().
asio::awaitable<void> manager::forget_when_lost(std::shared_ptr<live> l, std::shared_ptr<agent_client> client) {
  const error why = co_await client->wait_lost();
  if (l->client == client) l->client = nullptr;
  client->close();
  if (l->rec.status == state::running)
    parts_.log(log_level::debug, "connection to the agent of " + l->rec.id + " ended: " + why.message);
}

void manager::on_notice(std::weak_ptr<live> weak, const std::string& type, json data) {
  auto l = weak.lock();
  if (!l) return;
  if (type == "port_opened") l->ports.try_emplace(data.value("port", 0), base::now_us());
  if (type == "port_closed") l->ports.erase(data.value("port", 0));
  if (type == "process_exit" && l->commands.contains(data.value("id", ""))) {
    const std::string process = data["id"].get<std::string>();
    auto finish = [](manager* m, std::shared_ptr<live> box, std::string id, json exit) -> asio::awaitable<void> {
      (void)co_await m->command_finished(box, std::move(id), std::move(exit));
    };
    work_.spawn("end of a command", finish(this, l, process, data.value("exit", json::object())));
  }
}

void manager::command_started(std::shared_ptr<live> l, std::string process, json fact) {
  fact["process"] = process;
  l->commands[process] = fact;
  event e;
  e.session_id = l->rec.session_id;
  e.sandbox_id = l->rec.id;
  e.type = "command";
  e.time_us = base::now_us();
  e.data = std::move(fact);
  e.data["phase"] = "started";
  parts_.journal->publish(std::move(e));
}

task<void> manager::command_finished(std::shared_ptr<live> l, std::string process, json exit) {
  const auto open = l->commands.find(process);
  if (open == l->commands.end()) {
    // Whoever saw the end first may still be writing it: an answer must not come before its fact is durable.
    while (l->finishing.contains(process)) {
      co_await l->changed.async_wait(use_tuple);
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) break;
    }
    co_return result<void>{};
  }
  json fact = std::move(open->second);
  l->commands.erase(open);
  fact["phase"] = "finished";
  fact["exit"] = exit_body(exit);
  const auto took = std::chrono::microseconds(static_cast<std::int64_t>(exit.value("duration_ms", 0.0) * 1000));
  l->finishing.insert(process);
  auto noted = co_await note(l, "command", std::move(fact), took);
  l->finishing.erase(process);
  l->changed.cancel();
  co_return noted;
}

}  // namespace caged::sandbox
