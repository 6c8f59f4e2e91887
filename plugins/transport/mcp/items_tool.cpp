// Live streams as tools: process_output and sandbox_events answer with what there is by now, or comes within the time
// that the caller waits.
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "kept_output.hpp"
#include "platform.hpp"

namespace caged::transport_mcp {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr int longest_wait = 60;
constexpr int most_events = 200;
// What is kept comes at once, but it does come from the sandbox or the journal.
constexpr auto grace = std::chrono::milliseconds(300);

json integer_schema(int least, int most, const char* about) {
  return {{"type", "integer"}, {"minimum", least}, {"maximum", most}, {"description", about}};
}

result<int> taken(json& arguments, const char* name, int usual, int least, int most) {
  const json given = arguments.value(name, json(usual));
  arguments.erase(name);
  if (!given.is_number_integer() || given < least || given > most)
    return fail(errc::invalid_argument, "bad_number",
                std::string(name) + " must be a number from " + std::to_string(least) + " to " + std::to_string(most),
                "", std::string("/") + name);
  return given.get<int>();
}

// The next item; nullopt at the end or when `limit` has passed.
task<std::optional<stream_item>> next_before(std::shared_ptr<item_source> items,
                                             std::shared_ptr<asio::steady_timer> limit) {
  auto coming = items->next();
  auto waiting = limit->async_wait(use_tuple);
  auto first = co_await (std::move(coming) || std::move(waiting));
  if (first.index() == 1) co_return std::optional<stream_item>();
  co_return std::move(std::get<0>(first));
}

task<void> read_output(call_ptr c, std::shared_ptr<item_source> items, std::shared_ptr<asio::steady_timer> limit,
                       int wait) {
  limit->expires_after(std::chrono::seconds(wait) + grace);
  kept_output out, err;
  json exit;
  while (exit.is_null() && !c->cancelled()) {
    auto item = co_await next_before(items, limit);
    if (item.has_error()) co_return item.error();
    if (!item->has_value()) break;
    const stream_item& i = **item;
    if (i.event == "exit")
      exit = i.data;
    else
      (i.event == "stderr" ? err : out).add(piece_of(i));
  }
  mcp::tool_result r;
  r.structured = {{"stdout", out.text()},
                  {"stderr", err.text()},
                  {"truncated", out.left_out() + err.left_out() > 0},
                  {"running", exit.is_null()},
                  {"exit", exit}};
  r.text = out.text();
  if (err.total() > 0) r.text += "\nSTDERR:\n" + err.text();
  r.text += exit.is_null() ? "\n[still running]" : "\n[ended: " + to_text(exit) + "]";
  c->answer(std::move(r));
  co_return result<void>{};
}

task<void> read_events(call_ptr c, std::shared_ptr<item_source> items, std::shared_ptr<asio::steady_timer> limit,
                       int most) {
  constexpr std::size_t page = 40'000;
  json events = json::array();
  json last;  // the id that `after` takes
  std::string text;
  while (static_cast<int>(events.size()) < most && text.size() < page && !c->cancelled()) {
    limit->expires_after(grace);
    auto item = co_await next_before(items, limit);
    if (item.has_error()) co_return item.error();
    if (!item->has_value()) break;
    stream_item& i = **item;
    if (!i.id.empty()) last = std::stoull(i.id);
    text += to_text(i.data) + "\n";
    events.push_back(std::move(i.data));
  }
  mcp::tool_result r;
  if (!last.is_null()) text += "[go on with after: " + last.dump() + "]";
  r.text = text.empty() ? "[nothing more]" : std::move(text);
  r.structured = {{"events", std::move(events)}, {"next_after", std::move(last)}};
  c->answer(std::move(r));
  co_return result<void>{};
}

}  // namespace

bool reads_items(std::string_view operation) { return operation == "process.output" || operation == "sandbox.events"; }

json items_tool_declaration(const std::string& operation, json declared) {
  json& properties = declared["inputSchema"]["properties"];
  json given = json::object();
  if (operation == "process.output") {
    properties["wait"] = integer_schema(0, longest_wait, "Seconds to wait for its end; 1 by default.");
    declared["description"] = "Output that is kept of a process, and its exit when it has ended within `wait` seconds.";
    for (const char* name : {"stdout", "stderr"}) given[name] = {{"type", "string"}};
    for (const char* name : {"truncated", "running"}) given[name] = {{"type", "boolean"}};
    given["exit"] = {{"type", {"object", "null"}}};
  } else {
    properties["limit"] = integer_schema(1, most_events, "Events at most; 50 by default.");
    declared["title"] = "Events of a sandbox";
    declared["description"] = "Every recorded fact about the sandbox, in order. `after` goes on where a page ended.";
    given["events"] = {{"type", "array"}, {"items", {{"type", "object"}}}};
    given["next_after"] = {{"type", {"integer", "null"}}};
  }
  declared["outputSchema"] = {{"type", "object"}, {"properties", std::move(given)}};
  return declared;
}

task<void> run_items_tool(view_ptr v, call_ptr c, std::string operation, json arguments) {
  const bool output = operation == "process.output";
  auto number = output ? taken(arguments, "wait", 1, 0, longest_wait) : taken(arguments, "limit", 50, 1, most_events);
  if (number.has_error()) co_return number.error();
  // From the beginning: without `after` the operation has only what comes.
  if (!output && !arguments.contains("after")) arguments["after"] = 0;
  auto begun = co_await v->invoke(std::move(operation), std::move(arguments));
  if (begun.has_error()) co_return begun.error();
  const auto limit = std::make_shared<asio::steady_timer>(v->shared().executor);
  if (output) co_return co_await read_output(c, begun->items, limit, *number);
  co_return co_await read_events(c, begun->items, limit, *number);
}

}  // namespace caged::transport_mcp
