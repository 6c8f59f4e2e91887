// caged ps, kill, ports.
#include <core/cli/commands.hpp>
#include <core/cli/terminal.hpp>

namespace caged::cli {
namespace {

result<int> perform_ps(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto processes = client->call("GET", sandbox_path(id, "/processes"));
  if (!processes) return processes.error();
  if (s.machine()) {
    s.print_document(*processes);
    return 0;
  }
  table out(
      {{"PROCESS"}, {"PID", column::side::right}, {"STATE"}, {"EXIT", column::side::right}, {"STARTED"}, {"COMMAND"}});
  for (const json& p : *processes) {
    std::string command = field(p, "command");
    if (command == "-" && p.is_object() && p.contains("argv")) {
      command.clear();
      for (const json& word : p["argv"])
        command += (command.empty() ? "" : " ") + (word.is_string() ? word.get<std::string>() : "");
    }
    const json exit = p.value("exit", json());
    const std::string signal = field(exit, "signal");
    out.add({field(p, "process_id"), field(p, "pid"), p.value("running", false) ? "running" : "ended",
             signal == "-" ? field(exit, "exit_code") : signal, field(p, "started_at"), command});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

result<int> perform_kill(session& s, const std::string& id, const std::string& process, const std::string& signal) {
  const int number = signal_number(signal);
  if (number == 0) {
    return fail(errc::invalid_argument, "unknown_signal",
                "found the signal '" + signal + "', expected a name like TERM or KILL", "'kill -l' lists the names.");
  }
  auto client = s.connect();
  if (!client) return client.error();
  auto answer = client->call("POST", sandbox_path(id, "/processes/" + http::encode_component(process) + "/signal"),
                             {{"signal", signal_name(number)}});
  if (!answer) return answer.error();
  if (s.machine()) s.print_document({{"process_id", process}, {"signal", signal_name(number)}});
  return 0;
}

result<int> perform_ports(session& s, const std::string& id) {
  auto client = s.connect();
  if (!client) return client.error();
  auto ports = client->call("GET", sandbox_path(id, "/ports"));
  if (!ports) return ports.error();
  if (s.machine()) {
    s.print_document(*ports);
    return 0;
  }
  table out({{"PORT", column::side::right}, {"PROTOCOL"}, {"PROTECTED"}, {"PREVIEW"}, {"SINCE"}});
  for (const json& p : *ports) {
    out.add({field(p, "port"), field(p, "protocol"), field(p, "protected"), field(p, "preview_url"),
             field(p, "detected_at")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

}  // namespace

void add_process_commands(CLI::App& parent, const command_set& set) {
  auto id = std::make_shared<std::string>();
  auto* ps = set.add(parent, "ps", help_of("process.list"), "  caged ps cage_1a2b3c",
                     [id](session& s) { return perform_ps(s, *id); });
  ps->alias("processes");
  ps->add_option("ID", *id, about("sandbox.get", "id"))->required();

  auto process = std::make_shared<std::string>();
  auto signal = std::make_shared<std::string>("TERM");
  auto* kill = set.add(parent, "kill", help_of("process.signal"),
                       "  caged kill cage_1a2b3c proc_7\n  caged kill --signal KILL cage_1a2b3c proc_7",
                       [=](session& s) { return perform_kill(s, *id, *process, *signal); });
  kill->add_option("ID", *id, about("sandbox.get", "id"))->required();
  kill->add_option("PROCESS", *process, "The process, as 'caged ps' names it")->required();
  kill->add_option("-s,--signal", *signal, "TERM, KILL, INT … (default TERM)");

  auto* ports = set.add(parent, "ports", help_of("sandbox.ports"), "  caged ports cage_1a2b3c",
                        [id](session& s) { return perform_ports(s, *id); });
  ports->add_option("ID", *id, about("sandbox.get", "id"))->required();
}

}  // namespace caged::cli
