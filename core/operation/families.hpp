// The operations of the host itself, one file per family.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/judgement/judge.hpp"
#include "core/operation/registry.hpp"
#include "core/sandbox/manager.hpp"

namespace caged::sandbox {
class vault;
class purse_keeper;
class preview_gate;
}  // namespace caged::sandbox

namespace caged::judgement {
class alerts;
}
namespace caged::meter {
class reporter;
}
namespace caged::operation {

// What the handlers work on. Outlives every call.
struct services {
  registry* operations = nullptr;
  const config::host_config* config = nullptr;
  sandbox::manager* sandboxes = nullptr;
  journal::journal* journal = nullptr;
  storage* records = nullptr;
  auth* keys = nullptr;
  std::string version;
  std::function<json()> plugins;                                     // rows of `caged plugins`
  std::function<result<json>(const std::string& name)> plugin_schema;
  judgement::judge* judge = nullptr;
  sandbox::vault* secrets = nullptr;
  sandbox::purse_keeper* purses = nullptr;
  sandbox::preview_gate* previews = nullptr;
  journal::sessions* sessions = nullptr;
  judgement::alerts* alerts = nullptr;
  meter::reporter* reporter = nullptr;
};

void add_sandbox_operations(services& s);  // create list get update destroy pause resume, changes, metrics, ports, git
void add_exec_operations(services& s);  // exec, exec_stream, exec_socket
void add_process_operations(services& s);  // list get signal stdin output
void add_terminal_operations(services& s);  // terminal socket, terminal sessions
void add_file_operations(services& s);
void add_event_operations(services& s);  // events, logs, sessions, replay
void add_network_operations(services& s);  // what it may reach, what it reached, why not
void add_snapshot_operations(services& s);
void add_template_operations(services& s);
void add_host_operations(services& s);  // keys, tickets, account, capabilities, doctor, plugins

void add_secret_operations(services& s);  // set list remove
void add_billing_operations(services& s);  // usage

// Declares every operation of the host. Needs `operations` and `config`; the rest is needed when one is invoked.
void add_all_operations(services& s);

void add_policy_operations(services& s);  // policies, trust, approvals
void add_ingest_operations(services& s);
void add_alert_operations(services& s);

// The gates of the registry: commands, terminals and file operations are asked about before they happen.
gate make_gate(services& s);
// The same for what only its handler knows.
task<void> permit_create(services* s, sandbox::record wanted);
task<void> permit_command(services* s, json arguments, std::string transport);

using family_handler = task<reply> (*)(services*, call);

// A handler without a capturing coroutine: the coroutine is a plain function, its arguments are its own.
inline operation_handler bind(services& s, family_handler handler) {
  return [&s, handler](call c) { return handler(&s, std::move(c)); };
}

// The examples of an operation of the host, for its declaration: examples.cpp holds them all. Empty for others.
std::vector<operation_example> examples_of(std::string_view operation);

// Declaration helper; flags are set on the result.
inline operation_info declare(std::string name, std::string method, std::string path, scope needs, std::string summary,
                              json input, json output) {
  operation_info info;
  info.name = std::move(name);
  info.method = std::move(method);
  info.path = std::move(path);
  info.needs = needs;
  info.summary = std::move(summary);
  info.description = info.summary;
  info.input = std::move(input);
  info.output = std::move(output);
  info.read_only = needs == scope::read;
  info.examples = examples_of(info.name);
  return info;
}

inline reply answer(json body) {
  reply r;
  r.body = std::move(body);
  return r;
}

// The sandbox a call names, with its agent connected and its idle clock held.
struct reached {
  std::shared_ptr<sandbox::live> box;
  std::shared_ptr<sandbox::agent_client> agent;
  std::shared_ptr<sandbox::activity> busy;
};
task<reached> reach(services* s, std::string id);

// A row of the agent's process list as the API shows it.
json process_to_api(const json& row);

// A process's kept output, then what comes, then its exit, as stream items.
std::shared_ptr<item_source> items_of(services* s, reached at, std::shared_ptr<sandbox::agent_process> process);

}  // namespace caged::operation
