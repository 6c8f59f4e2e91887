#include "core/judgement/engines.hpp"

namespace caged::judgement {
namespace {

error refuse(const std::string& path, std::string message, std::string action) {
  return fail(errc::invalid_argument, "bad_policies", std::move(message), std::move(action), path);
}

}  // namespace

result<std::vector<policy::policy_choice>> read_choices(const json& list, const std::string& path) {
  std::vector<policy::policy_choice> out;
  if (list.is_null()) return out;
  if (!list.is_array()) return refuse(path, "the policies are no list", "Write a list of names, or of {name: arguments}.");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const json& one = list[i];
    policy::policy_choice choice;
    if (one.is_string()) {
      choice.name = one.get<std::string>();
    } else if (one.is_object() && one.size() == 1) {
      choice.name = one.begin().key();
      if (!one.begin().value().is_null()) choice.args = one.begin().value();
    }
    const std::string place = path + "/" + std::to_string(i);
    if (choice.name.empty() || choice.name.size() > 200)
      return refuse(place, "found " + one.dump().substr(0, 100) + ", expected a policy's name or {name: arguments}",
                    "See `caged policy list`.");
    if (!choice.args.is_object())
      return refuse(place, "the arguments of \"" + choice.name + "\" are no mapping", "Write {name: {argument: value}}.");
    out.push_back(std::move(choice));
  }
  return out;
}

result<policy::engine_options> engines::options(const std::string& account, const json& further) const {
  policy::engine_options o;
  o.roots = settings_.roots;
  auto own = read_choices(settings_.use, "/policies/use");
  if (!own) return own.error();
  o.policies = std::move(*own);
  const auto found = settings_.accounts.find(account);
  if (!account.empty() && found != settings_.accounts.end()) {
    auto more = read_choices(found->second, "/policies/accounts/" + account);
    if (!more) return more.error();
    for (auto& choice : *more) {
      choice.label = choice.name + "@account";
      o.policies.push_back(std::move(choice));
    }
  }
  auto more = read_choices(further, "/policies");
  if (!more) return more.error();
  for (auto& choice : *more) {
    // Further policies stand beside the host's, under a label of their own: they can only be stricter.
    choice.label = choice.name + "@sandbox";
    o.policies.push_back(std::move(choice));
  }
  return o;
}

result<void> engines::open() {
  auto o = options({}, json::array());
  if (!o) return o.error();
  auto loaded = policy::policy_engine::load(std::move(*o));
  if (!loaded) return loaded.error();
  own_ = std::move(*loaded);
  for (const auto& [account, list] : settings_.accounts)
    if (auto ok = find(account, json::array()); !ok) return ok.error();
  return {};
}

result<std::shared_ptr<policy::policy_engine>> engines::find(const std::string& account, const json& further) {
  const bool plain = further.empty() && !settings_.accounts.contains(account);
  if (plain) return own_;
  const std::string key = (settings_.accounts.contains(account) ? account : std::string()) + "\n" + further.dump();
  if (auto known = others_[key].lock()) return known;
  std::erase_if(others_, [](const auto& entry) { return entry.second.expired(); });
  if (others_.size() >= most)
    return fail(errc::limit_exceeded, "too_many_policies",
                "sandboxes with " + std::to_string(most) + " different lists of policies live already",
                "Use the same list for several sandboxes.", "/policies");
  auto o = options(account, further);
  if (!o) return o.error();
  auto loaded = policy::policy_engine::load(std::move(*o));
  if (!loaded) return loaded.error();
  std::shared_ptr<policy::policy_engine> made = std::move(*loaded);
  others_[key] = made;
  return made;
}

result<void> engines::check(const std::string& account, const json& further) {
  auto choices = read_choices(further, "/policies");
  if (!choices) return choices.error();
  for (std::size_t i = 0; i < choices->size(); ++i) {
    const std::string& name = (*choices)[i].name;
    if (name.find("..") != std::string::npos || name.front() == '/' || name.ends_with(".lua"))
      return refuse("/policies/" + std::to_string(i), "\"" + name + "\" is a path, expected a policy's name",
                    "Put the file into a folder of policies.folders in the server's configuration, and name it.");
  }
  auto loaded = find(account, further);
  if (!loaded) {
    error e = loaded.error();
    if (e.code == errc::not_found) e.code = errc::invalid_argument;
    if (e.path.empty()) e.path = "/policies";
    return e;
  }
  return {};
}

std::vector<error> engines::refresh() {
  std::vector<error> problems;
  const auto again = [&](const std::string& key, policy::policy_engine& engine) {
    if (!engine.changed()) {
      told_.erase(key);
      return;
    }
    auto done = engine.reload();
    if (done) {
      told_.erase(key);
    } else if (const std::string text = describe(done.error()); told_[key] != text) {
      told_[key] = text;
      problems.push_back(done.error());
    }
  };
  if (own_) again("", *own_);
  for (const auto& [key, weak] : others_)
    if (auto engine = weak.lock()) again(key, *engine);
  return problems;
}

}  // namespace caged::judgement
