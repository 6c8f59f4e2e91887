#include "core/operation/registry.hpp"

#include <stdexcept>

#include "core/base/time.hpp"

namespace caged::operation {
namespace {

// Arguments as they go into the journal: bulk and secrets stay out.
json summary_of(const json& arguments) {
  json kept = json::object();
  for (const auto& [key, value] : arguments.items()) {
    if (key == "content" || key == "content_base64" || key == "data" || key == "data_base64" || key == "stdin" ||
        key == "stdin_base64")
      continue;
    if (key == "value" || key.find("token") != std::string::npos || key.find("password") != std::string::npos ||
        key == "env")
      continue;
    if (value.is_string() && value.get_ref<const std::string&>().size() > 1024)
      kept[key] = value.get_ref<const std::string&>().substr(0, 1024) + "…";
    else
      kept[key] = value;
  }
  return kept;
}

}  // namespace

void registry::add_own(operation_info info, std::string event_type, operation_handler handler) {
  auto done = insert(std::move(info), std::move(event_type), std::move(handler));
  if (!done) throw std::logic_error(describe(done.error()));
}

result<void> registry::add(operation_info info, operation_handler handler) {
  std::string type = info.read_only ? "" : "tool_call";
  return insert(std::move(info), std::move(type), std::move(handler));
}

result<void> registry::insert(operation_info info, std::string event_type, operation_handler handler) {
  const std::string name = info.name;
  if (name.empty() || !handler || info.method.empty() || info.path.empty() || info.path[0] != '/')
    return fail(errc::invalid_argument, "bad_operation",
                "operation \"" + name + "\" lacks a name, handler, method or path", "Declare all four.");
  if (entries_.contains(name))
    return fail(errc::conflict, "operation_exists", "there is already an operation \"" + name + "\"",
                "Choose a name with a prefix of your own.");
  for (const auto& [other, e] : entries_)
    if (e->info.method == info.method && e->info.path == info.path)
      return fail(
          errc::conflict, "route_exists",
          "operation \"" + name + "\" wants " + info.method + " " + info.path + ", which is \"" + other + "\"'s",
          "Choose another path.");
  auto input = json_schema::compile(info.input);
  if (!input) return input.error();
  if (auto output = json_schema::compile(info.output); !output) return output.error();
  auto e =
      std::make_unique<entry>(entry{std::move(info), std::move(*input), std::move(handler), std::move(event_type)});
  entries_.emplace(name, std::move(e));
  return {};
}

std::vector<const operation_info*> registry::list() const {
  std::vector<const operation_info*> all;
  for (const auto& [name, e] : entries_) all.push_back(&e->info);
  return all;
}

const operation_info* registry::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second->info;
}

task<caller> registry::authenticate(std::string credential) {
  co_return co_await parts_.keys->authenticate(std::move(credential));
}

task<caller> registry::redeem_ticket(std::string ticket) { co_return parts_.keys->redeem(ticket); }

result<void> registry::admit(const entry& e, const call& c) const {
  if (c.who.granted < e.info.needs) {
    if (c.who.granted == scope::open)
      return fail(errc::unauthenticated, "key_missing", e.info.name + " needs a key",
                  "Send Authorization: Bearer with a key of scope " + std::string(to_string(e.info.needs)) + ".");
    return fail(
        errc::permission_denied, "scope_too_small",
        e.info.name + " needs scope " + std::string(to_string(e.info.needs)) + "; this key has " +
            std::string(to_string(c.who.granted)),
        "Use a key with that scope: `caged keys create NAME --scope " + std::string(to_string(e.info.needs)) + "`.");
  }
  // A conversation outlives the moment in which its key was checked.
  if (parts_.keys && !c.who.key_id.empty()) {
    const key_info* k = parts_.keys->find(c.who.key_id);
    if (k == nullptr || (k->expires_us != 0 && base::now_us() >= k->expires_us))
      return fail(errc::unauthenticated, "key_ended", "the key of this call was revoked or has expired",
                  "Use another key.");
  }
  if (!c.who.sandbox_id.empty() && c.arguments.value("id", "") != c.who.sandbox_id)
    return fail(errc::permission_denied, "other_sandbox",
                "this credential is good for sandbox " + c.who.sandbox_id + " only", "Use a key of the host.");
  return e.input.check(c.arguments);
}

task<void> registry::record(const entry& e, const json& arguments, const caller& who, const std::string& transport,
                            const error* refusal) {
  event fact;
  fact.sandbox_id = arguments.value("id", "");
  fact.session_id = parts_.session_of(fact.sandbox_id);
  if (fact.session_id.empty()) {
    fact.session_id = "host";
    fact.sandbox_id.clear();  // an id that no sandbox has must not look like one
  }
  fact.type = refusal ? "error" : e.event_type;
  fact.time_us = base::now_us();
  fact.data = {
      {"operation", e.info.name}, {"transport", transport}, {"key", who.key_id}, {"arguments", summary_of(arguments)}};
  if (refusal) fact.data["error"] = {{"reason", refusal->reason}, {"message", refusal->message}};
  std::vector<event> events;
  events.push_back(std::move(fact));
  std::vector<write> none;
  auto done = co_await parts_.journal->append(std::move(events), std::move(none));
  if (!done) co_return done.error();
  co_return result<void>{};
}

task<reply> registry::invoke(call c) {
  const auto found = entries_.find(c.operation);
  if (found == entries_.end())
    co_return fail(errc::not_found, "operation_not_found", "there is no operation \"" + c.operation + "\"",
                   "See /openapi.json for what there is.");
  const entry& e = *found->second;
  if (!c.arguments.is_object())
    co_return fail(errc::invalid_argument, "invalid_input",
                   "the arguments are a " + std::string(c.arguments.type_name()) + ", not an object",
                   "Send a JSON object.");
  if (auto admitted = admit(e, c); !admitted) co_return admitted.error();
  if (gate_) {
    if (auto passed = co_await gate_(e.info, c); !passed) {
      const error refusal = passed.error();
      (void)co_await record(e, c.arguments, c.who, c.transport, &refusal);
      co_return refusal;
    }
  }
  const json arguments = c.arguments;
  const caller who = c.who;
  const std::string transport = c.transport;
  std::optional<result<reply>> outcome;
  try {
    outcome = co_await e.handler(std::move(c));
  } catch (const boost::system::system_error& problem) {
    if (problem.code() == asio::error::operation_aborted)
      outcome = fail(errc::cancelled, "cancelled", e.info.name + " was cancelled by its caller");
    else
      outcome = fail(errc::internal, "internal_error", e.info.name + " failed: " + problem.what(),
                     "This is a bug; the server's log has more.");
  } catch (const std::exception& problem) {
    outcome = fail(errc::internal, "internal_error", e.info.name + " failed: " + problem.what(),
                   "This is a bug; the server's log has more.");
  }
  if (!*outcome && outcome->error().code == errc::internal) parts_.log(log_level::error, describe(outcome->error()));
  if (!e.event_type.empty() && *outcome) {
    if (auto noted = co_await record(e, arguments, who, transport, nullptr); !noted) co_return noted.error();
  } else if (!e.event_type.empty() && outcome->error().code == errc::permission_denied) {
    const error refusal = outcome->error();
    (void)co_await record(e, arguments, who, transport, &refusal);
  }
  co_return std::move(*outcome);
}

}  // namespace caged::operation
