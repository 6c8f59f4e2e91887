#include "core/sandbox/templates.hpp"

#include <algorithm>

#include "core/base/time.hpp"
#include "core/runtime/loop.hpp"

namespace caged::sandbox {
namespace {

json built_row(const built_template& t) {
  return {{"name", t.name},
          {"status", "ready"},
          {"digest", t.digest},
          {"from", t.recipe.value("from", "")},
          {"description", t.recipe.value("description", "")},
          {"derived", t.recipe.value("derived", false)},
          {"size_bytes", t.bytes},
          {"files", t.files},
          {"built_at", base::format_time(t.built_us)},
          {"env", t.env},
          {"recipe", t.recipe}};
}

json shipped_row(const template_recipe& r) {
  return {{"name", r.name},   {"status", "not_built"},        {"from", to_json(r).value("from", "")},
          {"derived", false}, {"description", r.description}, {"recipe", to_json(r)}};
}

}  // namespace

templates::templates(parts p)
    : parts_(std::move(p)),
      store_(std::make_shared<template_store>(parts_.folder)),
      work_(parts_.executor, [this](std::string_view name, std::string_view what) {
        parts_.log(log_level::error, std::string(name) + " failed: " + std::string(what));
      }) {}

task<void> templates::start() {
  auto shipped = shipped_recipes();
  if (!shipped) co_return shipped.error();
  shipped_ = std::move(*shipped);
  auto opening = [store = store_] { return store->open(); };
  if (auto opened = co_await runtime::on_pool(parts_.blocking, std::move(opening)); !opened) co_return opened.error();
  co_return co_await offer();
}

asio::awaitable<void> templates::stop() {
  work_.cancel();
  co_await work_.join();
}

task<void> templates::offer() {
  const auto all = store_->offers();
  for (const auto& [name, backend] : parts_.backends) {
    auto* takes = backend->extension<vmm_templates>();
    if (takes == nullptr) continue;
    auto offered = co_await takes->offer(all);
    if (!offered) parts_.log(log_level::warn, name + " refused the templates: " + describe(offered.error()));
  }
  co_return result<void>{};
}

json templates::rows() const {
  std::map<std::string, json> by_name;
  for (const auto& r : shipped_) by_name[r.name] = shipped_row(r);
  for (const auto& t : store_->list()) by_name[t.name] = built_row(t);
  for (const auto& [name, s] : states_) {
    json& row = by_name[name];
    // A build that fails leaves what was there before.
    if (row.is_null()) row = {{"name", name}, {"status", s->status}, {"recipe", s->recipe}, {"derived", false}};
    row["build"] = {{"status", s->status}, {"step", s->step}, {"began_at", base::format_time(s->began_us)}};
    if (row["status"] == "not_built") row["status"] = s->status;
    if (s->failure)
      row["build"]["error"] = {
          {"reason", s->failure->reason}, {"message", s->failure->message}, {"action", s->failure->action}};
  }
  json out = json::array();
  for (auto& [name, row] : by_name) out.push_back(std::move(row));
  return out;
}

result<json> templates::row(const std::string& name) const {
  for (json& row : rows())
    if (row["name"] == name) return std::move(row);
  return fail(errc::not_found, "template_not_found", "there is no template \"" + name + "\"",
              "List them: `caged template list`.", "/template");
}

std::vector<std::string> templates::names() const {
  std::vector<std::string> out;
  for (const json& row : rows())
    if (!row["derived"].get<bool>() && (row["status"] == "ready" || row["status"] == "not_built"))
      out.push_back(row["name"].get<std::string>());
  return out;
}

result<template_recipe> templates::recipe_of(const std::string& name) const {
  if (const auto t = store_->find(name)) return parse_recipe(t->recipe);
  for (const auto& r : shipped_)
    if (r.name == name) return r;
  return fail(errc::not_found, "template_not_found", "there is no template \"" + name + "\", and no recipe for it",
              "List them: `caged template list`; or give a recipe.", "/template");
}

result<json> templates::begin(template_recipe recipe, template_store::rebuild when) {
  const std::string name = recipe.name;
  if (const auto running = states_.find(name); running != states_.end() && running->second->status == "building")
    return fail(errc::conflict, "template_building", "the template \"" + name + "\" is being built",
                "Look at it: `caged template show " + name + "`.", "/name");
  auto state = std::make_shared<build_state>();
  state->began_us = base::now_us();
  state->recipe = to_json(recipe);
  states_[name] = state;
  work_.spawn("build of template " + name, build_behind(std::move(recipe), when, state));
  return row(name);
}

asio::awaitable<void> templates::build_behind(template_recipe recipe, template_store::rebuild when,
                                              std::shared_ptr<build_state> state) {
  const std::string name = recipe.name;
  auto tell = [state](std::string step) { state->step = std::move(step); };
  auto made = co_await build(std::move(recipe), when, std::move(tell));
  if (made) {
    if (const auto mine = states_.find(name); mine != states_.end() && mine->second == state) states_.erase(mine);
    parts_.log(log_level::info, "template " + name + " is built: " + made->digest);
    co_return;
  }
  state->status = "failed";
  state->step = "failed";
  state->failure = made.error();
  parts_.log(log_level::warn, "template " + name + " could not be built: " + describe(made.error()));
}

task<built_template> templates::build(template_recipe recipe, template_store::rebuild when,
                                      std::function<void(std::string)> tell) {
  auto guard = co_await building_.lock();
  // Steps are told on the pool and heard on the loop.
  auto heard = [executor = parts_.executor, tell](std::string step) {
    asio::post(executor, [tell, step = std::move(step)] { tell(step); });
  };
  auto building = [store = store_, recipe, when, heard]() -> result<built_template> {
    return store->build(recipe, when, heard);
  };
  auto made = co_await runtime::on_pool(parts_.blocking, std::move(building));
  if (!made) co_return made.error();
  if (auto offered = co_await offer(); !offered) co_return offered.error();
  co_return std::move(*made);
}

task<std::string> templates::ready(std::string name, std::vector<std::string> packages, scope granted,
                                   std::function<void(std::string)> tell) {
  auto recipe = recipe_of(name);
  if (!recipe) co_return recipe.error();
  std::string wanted = name;
  if (!packages.empty()) {
    auto more = with_packages(*recipe, packages);
    if (!more) co_return more.error();
    *recipe = std::move(*more);
    wanted = recipe->name;
  }
  if (!store_->find(wanted)) {
    if (granted != scope::full)
      co_return fail(
          errc::permission_denied, "template_not_built",
          "the template " + wanted + " is not built, and building it runs package scripts on the host; the " +
              "key's scope is " + std::string(to_string(granted)),
          "Have the owner of a key of scope full build it (`caged template build`, or once `caged up`).", "/template");
    tell("building the template " + wanted);
    auto made = co_await build(std::move(*recipe), template_store::rebuild::when_changed, tell);
    if (!made) co_return made.error();
  }
  auto looking = [store = store_, wanted] { return store->check(wanted, depth::names); };
  if (auto fine = co_await runtime::on_pool(parts_.blocking, std::move(looking)); !fine) co_return fine.error();
  co_return wanted;
}

std::string templates::digest_of(const std::string& name) const {
  const auto t = store_->find(name);
  return t ? t->digest : std::string();
}

std::map<std::string, std::string> templates::environment_of(const std::string& name) const {
  const auto t = store_->find(name);
  return t ? t->env : std::map<std::string, std::string>();
}

task<void> templates::verify(std::string name) {
  auto reading = [store = store_, name] { return store->check(name, depth::contents); };
  co_return co_await runtime::on_pool(parts_.blocking, std::move(reading));
}

task<void> templates::remove(std::string name) {
  const auto running = states_.find(name);
  if (running != states_.end() && running->second->status == "building")
    co_return fail(errc::conflict, "template_building", "the template \"" + name + "\" is being built",
                   "Wait for it: `caged template show " + name + "`.", "/template");
  const bool failed = running != states_.end();
  if (failed) states_.erase(running);
  if (failed && !store_->find(name)) co_return result<void>{};
  if (auto removed = store_->remove(name); !removed) co_return removed.error();
  co_return co_await offer();
}

task<void> templates::sweep() {
  std::set<std::string> used;
  for (const auto& [name, backend] : parts_.backends) {
    auto* takes = backend->extension<vmm_templates>();
    if (takes == nullptr) continue;
    auto roots = co_await takes->roots_in_use();
    if (!roots) co_return roots.error();  // who cannot say what he uses keeps all
    used.insert(roots->begin(), roots->end());
  }
  auto sweeping = [store = store_, used] {
    store->sweep(used);
    return 0;
  };
  co_await runtime::on_pool(parts_.blocking, std::move(sweeping));
  co_return result<void>{};
}

}  // namespace caged::sandbox
