// sandbox_exec as a tool: output as progress, and what was started is killed when the call is cancelled.
#include "kept_output.hpp"
#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

constexpr auto progress_interval = std::chrono::milliseconds(500);

asio::awaitable<void> kill_process(view_ptr v, std::string sandbox, std::string process) {
  json arguments{{"id", std::move(sandbox)}, {"process", std::move(process)}, {"signal", "SIGKILL"}};
  // It may have ended by itself meanwhile.
  (void)co_await v->invoke("process.signal", std::move(arguments));
}

std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of("\r\n");
  if (end == std::string::npos) return {};
  const auto begin = text.find_last_of("\r\n", end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     std::min<std::size_t>(end - (begin == std::string::npos ? 0 : begin + 1) + 1, 200));
}

}  // namespace

task<void> run_exec_tool(view_ptr v, call_ptr c, json arguments) {
  const std::string sandbox =
      arguments.contains("id") && arguments["id"].is_string() ? arguments["id"].get<std::string>() : "";
  arguments.erase("background");
  auto started = co_await v->invoke("sandbox.exec_stream", std::move(arguments));
  if (started.has_error()) co_return started.error();
  const auto items = started->items;
  kept_output out, err;
  json exit;
  std::string process;
  auto next_progress = std::chrono::steady_clock::now() + progress_interval;
  while (true) {
    auto item = co_await items->next();
    if (item.has_error()) co_return item.error();
    if (!item->has_value()) break;
    const stream_item& i = **item;
    if (i.event == "start") {
      process = i.data.value("process_id", "");
      json note{{"process_id", process}, {"sandbox", sandbox}, {"event", "started"}};
      c->log(mcp::log_severity::info, note, "sandbox_exec");
      c->on_cancel([v, sandbox, process] { v->shared().workers->run(kill_process(v, sandbox, process)); });
    } else if (i.event == "exit") {
      exit = i.data;
    } else {
      const std::string piece = piece_of(i);
      (i.event == "stderr" ? err : out).add(piece);
      if (c->wants_progress() && std::chrono::steady_clock::now() >= next_progress) {
        next_progress = std::chrono::steady_clock::now() + progress_interval;
        c->progress(static_cast<double>(out.total() + err.total()), std::nullopt, last_line(piece));
      }
    }
  }
  json note{{"process_id", process},
            {"sandbox", sandbox},
            {"event", "ended"},
            {"exit_code", exit.value("exit_code", json())}};
  c->log(mcp::log_severity::info, note, "sandbox_exec");
  mcp::tool_result r;
  r.structured = exit.is_object() ? exit : json::object();
  r.structured["process_id"] = process;
  r.structured["stdout"] = out.text();
  r.structured["stderr"] = err.text();
  r.structured["truncated"] = out.left_out() + err.left_out() > 0;
  r.structured["dropped_bytes"] = out.left_out() + err.left_out();
  r.text = out.text();
  if (err.total() > 0)
    r.text += (r.text.empty() || r.text.ends_with('\n') ? "" : "\n") + std::string("STDERR:\n") + err.text();
  const json code = exit.value("exit_code", json());
  if (code != 0) {
    r.how = mcp::tool_result::outcome::failure;
    r.text += (r.text.empty() || r.text.ends_with('\n') ? "" : "\n") + std::string("exit: ");
    if (exit.value("timed_out", false))
      r.text += "timed out";
    else
      r.text += code.is_null() ? exit.value("signal", json("unknown")).dump() : code.dump();
  }
  if (r.text.empty()) r.text = "(no output)";
  c->answer(std::move(r));
  co_return result<void>{};
}

}  // namespace caged::transport_mcp
