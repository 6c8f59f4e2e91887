#include "operations.hpp"

#include <algorithm>
#include <string_view>

#include "exec/process_channel.hpp"
#include "fs/file_operations.hpp"
#include "metrics/metrics.hpp"
#include "server.hpp"

namespace caged::agent {
namespace {

std::uint32_t channel_of(const arguments& args) {
  return static_cast<std::uint32_t>(args.number("channel", 1, 0xffffffff));
}

void started(const std::shared_ptr<call>& asked, const std::shared_ptr<process>& p) {
  json head = p->summary();
  asked->answer(std::move(head));
}

void start(server& agent, const std::shared_ptr<call>& asked, process_kind kind) {
  const arguments args(asked->args());
  const auto where = asked->from();
  if (!where) return;
  const bool attach = args.has("channel");
  const std::uint32_t number = attach ? channel_of(args) : 0;
  const auto p = kind == process_kind::pipes ? agent.processes().start_exec(args) : agent.processes().start_pty(args);
  // The answer goes out before the channel's first frame.
  started(asked, p);
  if (attach) process_channel::open(where, number, p);
  p->pump();
}

void exec_start(server& agent, const std::shared_ptr<call>& asked) { start(agent, asked, process_kind::pipes); }
void pty_start(server& agent, const std::shared_ptr<call>& asked) { start(agent, asked, process_kind::terminal); }

void process_attach(server& agent, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto where = asked->from();
  if (!where) return;
  const auto p = agent.processes().find(args.text("id"));
  const std::uint32_t number = channel_of(args);
  started(asked, p);
  process_channel::open(where, number, p);
  p->pump();
}

void process_wait(server& agent, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto p = agent.processes().find(args.text("id"));
  const auto timeout = args.number("timeout_ms", 1, std::int64_t{30} * 24 * 3600 * 1000, 0);
  auto timer = std::make_shared<loop::timer_id>(0);
  auto& events = agent.events();
  const auto waiter = agent.processes().wait(p, [asked, timer, &events](json summary) {
    events.cancel(*timer);
    asked->answer(std::move(summary));
  });
  if (waiter == 0) return;
  asked->on_cancel([&agent, waiter, timer] {
    agent.processes().forget_waiter(waiter);
    agent.events().cancel(*timer);
  });
  if (timeout > 0)
    *timer = events.after(std::chrono::milliseconds(timeout), [&agent, asked, waiter] {
      agent.processes().forget_waiter(waiter);
      asked->refuse({"deadline_exceeded", "still_running", "the process did not end in the time given",
                     "Wait again, or send it a signal.", ""});
    });
}

void process_list(server& agent, const std::shared_ptr<call>& asked) { asked->answer(agent.processes().list()); }

void process_get(server& agent, const std::shared_ptr<call>& asked) {
  asked->answer(agent.processes().find(arguments(asked->args()).text("id"))->summary());
}

void process_signal(server& agent, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto p = agent.processes().find(args.text("id"));
  const json& wanted = asked->args().value("signal", json("SIGTERM"));
  const int number = signal_number(wanted.is_number_integer() ? wanted.dump() : args.text("signal", "SIGTERM"));
  if (number == 0)
    throw bad_argument("/signal", "there is no such signal", "Use a name such as SIGTERM, or a number from 1 to 64.");
  p->signal(number);
  asked->answer(json::object());
}

void pty_resize(server& agent, const std::shared_ptr<call>& asked) {
  const arguments args(asked->args());
  const auto p = agent.processes().find(args.text("id"));
  const int columns = static_cast<int>(args.number("cols", 1, 10000)),
            rows = static_cast<int>(args.number("rows", 1, 10000));
  if (!p->resize(columns, rows))
    throw failed("unsupported", "no_terminal", "the process has no terminal", "Start it with pty.start.", "/id");
  asked->answer(json::object());
}

void ping(server&, const std::shared_ptr<call>& asked) { asked->answer(json{{"pong", true}}); }
void metrics(server& agent, const std::shared_ptr<call>& asked) { asked->answer(agent.metrics().sample()); }
void ports_list(server& agent, const std::shared_ptr<call>& asked) { asked->answer(agent.ports()); }

void shutdown(server& agent, const std::shared_ptr<call>& asked) {
  const auto grace = arguments(asked->args()).number("grace_ms", 0, 60000, 5000);
  asked->answer(json::object());
  agent.shut_down(std::chrono::milliseconds(grace));
}

struct row {
  std::string_view name;
  void (*run)(server&, const std::shared_ptr<call>&);
};

constexpr row table[] = {
    {"ping", ping},
    {"exec.start", exec_start},
    {"pty.start", pty_start},
    {"pty.resize", pty_resize},
    {"process.attach", process_attach},
    {"process.list", process_list},
    {"process.get", process_get},
    {"process.signal", process_signal},
    {"process.wait", process_wait},
    {"ports.list", ports_list},
    {"metrics", metrics},
    {"shutdown", shutdown},
};

}  // namespace

void dispatch(server& agent, const std::shared_ptr<call>& asked) {
  const auto it =
      std::find_if(std::begin(table), std::end(table), [&](const row& r) { return r.name == asked->operation(); });
  if (it != std::end(table)) return it->run(agent, asked);
  if (dispatch_file_operation(agent, asked)) return;
  throw failed("unsupported", "unknown_operation", "the agent has no operation \"" + asked->operation() + "\"",
               "See sdk/wire/PROTOCOL.md, or install a newer agent.");
}

}  // namespace caged::agent
