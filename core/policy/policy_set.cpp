#include <core/policy/policy_set.hpp>

#include <core/policy/event_catalogue.hpp>
#include <core/policy/lua_json.hpp>

namespace caged::policy {
namespace {

// A handler that allocated less than this cannot have grown its state much, so looking every now and then is enough.
constexpr std::size_t suspicious_growth = 4096;
constexpr std::uint64_t look_every = 64;

verdict failed(stage at, const policy_info& policy, const error& e) {
  verdict out;
  out.failures.push_back({policy.label, e.reason, printable(e.message)});
  if (at == stage::gate && !policy.fails_open) {
    out.kind = verdict_kind::deny;
    out.reason =
        "the policy '" + policy.label + "' could not decide, so the answer is no: " + printable(e.message, 200);
    out.rule = "policy_error";
    out.policy = policy.label;
    out.advice = "correct the policy, or give it on_error = \"allow\" if it may fail open";
  }
  return out;
}

}  // namespace

// What run_handler() works on; lives on the stack of ask().
struct policy_set::frame {
  policy_set* self;
  handler h;
  stage at;
  int context_ref;
  std::optional<result<verdict>> answer;

  static int run(lua_State* state) {
    auto& f = *static_cast<frame*>(lua_touserdata(state, 1));
    lua_settop(state, 0);
    lua_rawgeti(state, LUA_REGISTRYINDEX, f.h.ref);
    f.self->views_.push_event(state);
    lua_rawgeti(state, LUA_REGISTRYINDEX, f.context_ref);
    lua_call(state, 2, LUA_MULTRET);
    const int count = lua_gettop(state);
    if (count == 0 || (count == 1 && lua_isnil(state, 1))) return 0;
    f.answer.emplace(read_answers(state, count, f.at, f.self->policies_[f.h.policy].info.label));
    lua_settop(state, 0);
    return 0;
  }
};

result<std::unique_ptr<policy_set>> policy_set::load(const engine_options& options) {
  std::unique_ptr<policy_set> set(new policy_set(options));
  auto machine = lua_machine::make(options.limits.memory);
  if (!machine) return machine.error();
  set->machine_ = std::move(*machine);
  auto prepared = set->machine_->guarded({}, [&](lua_State* state) { set->views_.prepare(state); });
  if (!prepared) return prepared.error();
  std::set<std::string> labels;
  for (const auto& choice : options.policies) {
    auto added = set->add(choice);
    if (!added) return added.error();
    const auto& label = set->policies_.back().info.label;
    if (!labels.insert(label).second) {
      return fail(errc::conflict, "policy_label", "two policies are called '" + label + "'",
                  "give one of them a label of its own");
    }
  }
  return set;
}

verdict policy_set::evaluate(stage at, const event& e, const json& session, std::vector<handler_trace>* traces) {
  const auto& handlers = at == stage::gate ? gates_ : facts_;
  const auto found = handlers.find(e.type);
  verdict out;
  if (found == handlers.end()) return out;
  session_slot& slot = slot_for(e.session_id);
  ++slot.evaluations;
  views_.open(e, session);
  for (const handler& h : found->second) {
    const auto begin = traces == nullptr ? std::chrono::steady_clock::time_point{} : std::chrono::steady_clock::now();
    std::optional<verdict> answer;
    auto done = ask(h, at, slot, answer);
    if (done && !answer && traces == nullptr) continue;
    verdict one = !done ? failed(at, policies_[h.policy].info, done.error()) : answer ? std::move(*answer) : verdict{};
    if (traces != nullptr) {
      traces->push_back({policies_[h.policy].info.label, one,
                         options_.limits.instructions - machine_->meter().work_left(), machine_->meter().allocated(),
                         std::chrono::steady_clock::now() - begin});
    }
    out.combine(std::move(one));
  }
  views_.close();
  return out;
}

result<void> policy_set::ask(const handler& h, stage at, session_slot& slot, std::optional<verdict>& answer) {
  if (slot.contexts[h.policy] == LUA_NOREF) {
    auto made = make_context(slot, h.policy);
    if (!made) return made.error();
  }
  frame f{this, h, at, slot.contexts[h.policy], std::nullopt};
  lua_State* state = machine_->raw();
  if (!lua_checkstack(state, 32)) return fail(errc::limit_exceeded, "policy_memory", "no stack left for policies");
  lua_pushcfunction(state, &frame::run);
  lua_pushlightuserdata(state, &f);
  auto done = machine_->call(1, 0, {options_.limits.instructions, options_.limits.allocation, options_.limits.time});
  if (!done) return done.error();
  if (machine_->meter().allocated() > suspicious_growth || slot.evaluations % look_every == 0) {
    auto checked = check_state(slot, h.policy);
    if (!checked) return checked.error();
  }
  if (!f.answer) return {};
  if (!*f.answer) return f.answer->error();
  answer = std::move(**f.answer);
  return {};
}

policy_set::session_slot& policy_set::slot_for(const std::string& session_id) {
  const auto found = sessions_.find(session_id);
  if (found != sessions_.end()) {
    if (std::next(found->second.age) != ages_.end()) ages_.splice(ages_.end(), ages_, found->second.age);
    return found->second;
  }
  if (sessions_.size() >= std::max<std::size_t>(options_.limits.live_sessions, 1)) park_oldest();
  session_slot& slot = sessions_[session_id];
  slot.contexts.assign(policies_.size(), LUA_NOREF);
  slot.saved.assign(policies_.size(), json::object());
  slot.age = ages_.insert(ages_.end(), session_id);
  const auto parked = parked_.find(session_id);
  if (parked != parked_.end()) {
    for (std::size_t i = 0; i < policies_.size(); ++i) {
      const auto state = parked->second.find(policies_[i].info.label);
      if (state != parked->second.end()) slot.saved[i] = *state;
    }
    parked_.erase(parked);
  }
  return slot;
}

result<void> policy_set::make_context(session_slot& slot, std::size_t policy_index) {
  return machine_->guarded({}, [&](lua_State* state) {
    lua_createtable(state, 0, 4);
    push_json(state, slot.saved[policy_index]);
    lua_setfield(state, -2, "state");
    lua_rawgeti(state, LUA_REGISTRYINDEX, policies_[policy_index].args_ref);
    lua_setfield(state, -2, "args");
    views_.push_session(state);
    lua_setfield(state, -2, "session");
    lua_pushstring(state, policies_[policy_index].info.label.c_str());
    lua_setfield(state, -2, "policy");
    slot.contexts[policy_index] = luaL_ref(state, LUA_REGISTRYINDEX);
  });
}

result<json> policy_set::read_state(session_slot& slot, std::size_t policy_index) {
  if (slot.contexts[policy_index] == LUA_NOREF) return slot.saved[policy_index];
  result<json> out = json();
  auto done = machine_->guarded({}, [&](lua_State* state) {
    lua_rawgeti(state, LUA_REGISTRYINDEX, slot.contexts[policy_index]);
    lua_pushliteral(state, "state");
    lua_rawget(state, -2);
    out = to_json(state, -1, {16, options_.limits.state_bytes});
    if (out && !out->is_object()) {
      out = fail(errc::invalid_argument, "policy_state", "ctx.state is no longer a table with string keys");
    }
  });
  if (!done) return done.error();
  return out;
}

result<void> policy_set::check_state(session_slot& slot, std::size_t policy_index) {
  auto now = read_state(slot, policy_index);
  if (now) {
    slot.saved[policy_index] = std::move(*now);
    return {};
  }
  // What is too large or no plain value is thrown away; the state goes on from where it last was in order.
  luaL_unref(machine_->raw(), LUA_REGISTRYINDEX, slot.contexts[policy_index]);
  slot.contexts[policy_index] = LUA_NOREF;
  return fail(errc::limit_exceeded, "policy_state", "ctx.state went back to its last good form: " + now.error().message,
              "keep less in ctx.state: it is bounded, and must be plain values");
}

json policy_set::slot_state(session_slot& slot) {
  json out = json::object();
  for (std::size_t i = 0; i < policies_.size(); ++i) {
    auto state = read_state(slot, i);
    const json& value = state ? *state : slot.saved[i];
    if (!value.empty()) out[policies_[i].info.label] = value;
  }
  return out;
}

void policy_set::release(session_slot& slot) {
  for (const int ref : slot.contexts) luaL_unref(machine_->raw(), LUA_REGISTRYINDEX, ref);
}

void policy_set::park_oldest() {
  const std::string id = ages_.front();
  session_slot& slot = sessions_.at(id);
  auto state = slot_state(slot);
  if (!state.empty()) parked_[id] = std::move(state);
  release(slot);
  ages_.pop_front();
  sessions_.erase(id);
}

json policy_set::session_state(const std::string& session_id) {
  const auto found = sessions_.find(session_id);
  if (found != sessions_.end()) return slot_state(found->second);
  const auto parked = parked_.find(session_id);
  return parked == parked_.end() ? json::object() : parked->second;
}

void policy_set::restore_state(const std::string& session_id, const json& state) {
  forget(session_id);
  if (!state.is_object()) return;
  json kept = json::object();
  for (const auto& [label, value] : state.items()) {
    if (value.is_object()) kept[label] = value;
  }
  parked_[session_id] = std::move(kept);
}

void policy_set::forget(const std::string& session_id) {
  parked_.erase(session_id);
  const auto found = sessions_.find(session_id);
  if (found == sessions_.end()) return;
  release(found->second);
  ages_.erase(found->second.age);
  sessions_.erase(found);
}

std::map<std::string, json> policy_set::all_states() {
  std::map<std::string, json> out(parked_.begin(), parked_.end());
  for (auto& [id, slot] : sessions_) out[id] = slot_state(slot);
  return out;
}

std::vector<policy_info> policy_set::infos() const {
  std::vector<policy_info> out;
  for (const auto& p : policies_) out.push_back(p.info);
  return out;
}

}  // namespace caged::policy
