// Templates: what sandboxes can be made from, built from recipes in the background.
#include "core/operation/families.hpp"
#include "core/operation/schema.hpp"

namespace caged::operation {
namespace {

using namespace schema;

task<reply> list_all(services* s, call) {
  auto& m = *s->sandboxes;
  if (auto listed = co_await m.list_images(); !listed) co_return listed.error();
  json rows = m.built().rows();
  for (const auto& name : m.images()) {
    const bool known = std::any_of(rows.begin(), rows.end(), [&](const json& row) { return row["name"] == name; });
    if (!known)
      rows.push_back({{"name", name},
                      {"status", "ready"},
                      {"from", name == "host" ? "host" : "backend"},
                      {"derived", false},
                      {"description", name == "host" ? "This machine's own programs, read-only under a layer" : ""}});
  }
  for (auto& row : rows) {
    row["default"] = row["name"] == m.config().default_template;
    json backends = json::array();
    for (const auto& [backend, images] : m.images_by_backend())
      if (std::find(images.begin(), images.end(), row["name"].get<std::string>()) != images.end())
        backends.push_back(backend);
    row["backends"] = std::move(backends);
  }
  co_return answer(std::move(rows));
}

task<reply> show(services* s, call c) {
  const auto name = c.arguments["template"].get<std::string>();
  auto& built = s->sandboxes->built();
  if (name == "host")
    co_return answer({{"name", "host"}, {"status", "ready"}, {"from", "host"}, {"derived", false}});
  auto row = built.row(name);
  if (!row) co_return row.error();
  if (!c.arguments.value("verify", false)) co_return answer(std::move(*row));
  if (auto whole = co_await built.verify(name); !whole) co_return whole.error();
  (*row)["verified"] = true;
  co_return answer(std::move(*row));
}

task<reply> build(services* s, call c) {
  auto& built = s->sandboxes->built();
  result<sandbox::template_recipe> recipe = fail(errc::invalid_argument, "recipe_missing",
                                                 "neither name nor recipe is given",
                                                 "Name a shipped recipe, or give one.", "/recipe");
  if (c.arguments.contains("recipe")) {
    json document = c.arguments["recipe"];
    if (c.arguments.contains("name")) document["name"] = c.arguments["name"];
    recipe = sandbox::parse_recipe(document);
  } else if (c.arguments.contains("name")) {
    recipe = built.recipe_of(c.arguments["name"].get<std::string>());
  }
  if (!recipe) co_return recipe.error();
  const auto when =
      c.arguments.value("fresh", false) ? sandbox::template_store::rebuild::always
                                        : sandbox::template_store::rebuild::when_changed;
  auto row = built.begin(std::move(*recipe), when);
  if (!row) co_return row.error();
  reply r = answer(std::move(*row));
  co_return r;
}

task<reply> remove(services* s, call c) {
  auto done = co_await s->sandboxes->remove_template(c.arguments["template"].get<std::string>());
  if (!done) co_return done.error();
  co_return reply{};
}

}  // namespace

void add_template_operations(services& s) {
  const json object{{"type", "object"}};
  const json name{{"type", "string"}, {"description", "Name of the template."}, {"minLength", 1}, {"maxLength", 64}};
  const auto own = [&s](operation_info info, const char* type, family_handler handler) {
    s.operations->add_own(std::move(info), type, bind(s, handler));
  };
  own(declare("template.list", "GET", "/v1/templates", scope::read, "List what sandboxes can be made from",
              schema::input({}), list(object)),
      "", list_all);
  own(declare("template.show", "GET", "/v1/templates/{template}", scope::read,
              "Show a template, and how far its build is",
              schema::input({{"template", name},
                             {"verify", flag("Read every byte and compare with the digest.")}},
                            {"template"}),
              object),
      "", show);
  auto info = declare("template.build", "POST", "/v1/templates", scope::full, "Build a template from a recipe",
                      schema::input({{"name", text("A shipped recipe, or the name for the one that is given.")},
                                     {"recipe",
                                      {{"type", "object"},
                                       {"description",
                                        "name, from (debian, oci, folder), packages, suite, npm, path, image."}}},
                                     {"fresh", flag("Also when the same was built before.")}}),
                      object);
  info.success = 202;
  info.description =
      "The build goes on after the answer: `template.show` tells its step, its end, and why it failed. Nothing of a "
      "build that failed or was cut short is ever used.";
  own(std::move(info), "lifecycle", build);
  info = declare("template.remove", "DELETE", "/v1/templates/{template}", scope::full, "Remove a built template",
                 schema::input({{"template", name}}, {"template"}), nothing());
  info.success = 204;
  info.destructive = true;
  info.description = "Refused while a living sandbox is made of it. Snapshots keep the files they lie on.";
  own(std::move(info), "lifecycle", remove);
}

}  // namespace caged::operation
