#include "guest/guest.hpp"

#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "arguments.hpp"
#include "guest/identity.hpp"
#include "guest/machine.hpp"
#include "guest/port_server.hpp"
#include "server.hpp"

namespace caged::agent {
namespace {

// The host's word: null goes on as before; an object says who the machine is from now on.
json go(const json& word, server& agent, workload_group& group, const std::map<std::string, std::string>& least) {
  if (!word.is_null()) {
    const arguments args(word);
    assume_identity(args.object("identity"));
    if (args.flag("first", false)) agent.processes().forget_finished();
    auto env = least;
    for (const auto& [name, value] : args.object("env").items()) {
      if (!value.is_string() || name.empty() || name.find('=') != std::string::npos)
        throw bad_argument("/env/" + name, "expected a string variable");
      env[name] = value.get<std::string>();
    }
    agent.processes().set_environment(std::move(env));
    group.limit_tasks(static_cast<std::uint32_t>(args.number("tasks", 2, 1 << 22, 4096)));
  }
  group.thaw();
  const auto up = std::chrono::duration_cast<std::chrono::milliseconds>(steady::now().time_since_epoch());
  return json{{"uptime_ms", up.count()}};
}

void run(const options& o, fd signals, const std::map<std::string, std::string>& env) {
  enter_machine();
  workload_group group;
  server_options so;
  so.workspace = o.workspace;
  so.base_env = env;
  so.heartbeat_interval = o.heartbeat_interval;
  so.metrics_interval = o.metrics_interval;
  loop events;
  server agent(events, std::move(so));
  agent.processes().set_group(group.procs());
  events.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    }
    agent.on_child_signal();
  });
  port_server port(events, open_port("caged.agent"),
                   {[&](fd stream) { agent.serve(std::move(stream)); }, [&] { group.freeze(); },
                    [&](const json& word) { return go(word, agent, group, env); }, [&] { events.stop(); }});
  events.run();
}

}  // namespace

void run_guest(const options& o, fd signals, std::map<std::string, std::string> env) {
  try {
    run(o, std::move(signals), env);
  } catch (const std::exception& e) {
    const std::string line = std::string("caged-agent: this machine cannot start: ") + e.what() + "\n";
    [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
  }
  leave_machine();
}

}  // namespace caged::agent
