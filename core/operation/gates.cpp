// What is asked of the policies before an operation acts.
#include "core/judgement/agent_kind.hpp"
#include "core/judgement/seen.hpp"
#include "core/operation/families.hpp"

namespace caged::operation {
namespace {

event question(const char* gate, const json& arguments, json data) {
  event e;
  e.type = gate;
  e.sandbox_id = arguments.value("id", "");
  e.data = std::move(data);
  return e;
}

json command_data(const json& a, const std::string& source) {
  json d{{"source", source}, {"cwd", a.value("cwd", "/workspace")}, {"user", a.value("user", "root")}};
  for (const char* key : {"command", "argv"})
    if (a.contains(key)) d[key] = a[key];
  return d;
}

// What the client says it is, when that is a plain name; else what we know it by.
std::string agent_kind(const call& c) {
  const bool plain = !c.agent.empty() && c.agent.size() <= 40 &&
                     c.agent.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == std::string::npos;
  return plain ? c.agent : judgement::agent_of_client(c.client);
}

// Operations that are an agent's work, and so begin or go on with its session.
bool is_work(const operation_info& info) {
  if (info.read_only) return false;
  for (const char* family : {"sandbox.exec", "sandbox.terminal", "file.", "process."})
    if (info.name.starts_with(family)) return true;
  return false;
}

task<void> at_gate(services* s, bool work, std::string agent, std::string operation, json arguments,
                   std::string transport) {
  // A sandbox that is not there is the handler's to refuse: its answer says so.
  auto found = s->sandboxes->find(arguments.value("id", ""));
  if (!found) co_return result<void>{};
  if (work)
    if (auto begun = co_await s->sandboxes->agent_at_work(*found, std::move(agent)); !begun) co_return begun.error();
  if (operation == "sandbox.exec" || operation == "sandbox.exec_stream")
    co_return co_await permit_command(s, std::move(arguments), std::move(transport));
  if (operation == "sandbox.terminal" && !arguments.contains("session")) {
    if (!arguments.contains("command")) arguments["argv"] = {"/bin/bash", "-l"};
    co_return co_await permit_command(s, std::move(arguments), "pty");
  }
  if (judgement::file_operation(operation).empty()) co_return result<void>{};
  json data = judgement::file_question(operation, arguments, transport);
  event asked = question("file_op", arguments, std::move(data));
  co_return co_await s->judge->permit(std::move(asked));
}

}  // namespace

task<void> permit_command(services* s, json arguments, std::string transport) {
  event asked = question("command", arguments, command_data(arguments, transport.empty() ? "rest" : transport));
  co_return co_await s->judge->permit(std::move(asked));
}

task<void> permit_create(services* s, sandbox::record wanted) {
  const auto* key = s->keys->find(wanted.owner_key);
  const std::string account = key ? key->name : std::string();
  if (auto known = s->judge->policies().check(account, wanted.policies); !known) co_return known.error();
  judgement::subject who;
  who.account = account;
  who.network_mode = wanted.network_mode;
  who.allowed_hosts = wanted.allowlist;
  who.budget_micros = wanted.budget_micro;
  who.policies = wanted.policies;
  json names = json::array();
  for (const auto& [name, value] : wanted.env) names.push_back(name);
  event asked;
  asked.type = "sandbox.create";
  asked.data = {{"template", wanted.template_name}, {"cpus", wanted.cpus},
                {"memory_mb", wanted.memory_mb},    {"disk_gb", wanted.disk_gb},
                {"network_mode", wanted.network_mode}, {"allowed_hosts", wanted.allowlist},
                {"repo", wanted.repo.url},          {"init_script", wanted.init_script},
                {"packages", wanted.packages},      {"agents", wanted.agents},
                {"env_names", std::move(names)},    {"budget_micros", wanted.budget_micro},
                {"account", account}};
  const policy::verdict v = co_await s->judge->ask(std::move(asked), std::move(who));
  if (!v.allowed()) co_return judgement::judge::refusal(v);
  co_return result<void>{};
}

gate make_gate(services& s) {
  return [&s](const operation_info& info, const call& c) {
    return at_gate(&s, is_work(info), agent_kind(c), info.name, c.arguments, c.transport);
  };
}

}  // namespace caged::operation
