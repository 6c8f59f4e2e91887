// caged template: build, list, show and remove what sandboxes are made from.
#include <core/cli/commands.hpp>
#include <core/cli/terminal.hpp>
#include <core/config/yaml.hpp>

#include <chrono>
#include <thread>

namespace caged::cli {
namespace {

using namespace std::chrono_literals;

struct template_options {
  std::string name, recipe, oci, folder, image;
  std::vector<std::string> packages;
  bool fresh = false, verify = false, no_wait = false;
};

std::string template_path(const std::string& name) { return "/v1/templates/" + http::encode_component(name); }

std::string joined(const json& words) {
  std::string out;
  for (const json& w : words) out += (out.empty() ? "" : ",") + w.get<std::string>();
  return out.empty() ? "-" : out;
}

result<int> list_templates(session& s) {
  auto client = s.connect();
  if (!client) return client.error();
  auto rows = client->call("GET", "/v1/templates");
  if (!rows) return rows.error();
  if (s.machine()) {
    s.print_document(*rows);
    return 0;
  }
  table out({{"NAME"}, {"STATUS"}, {"FROM"}, {"SIZE", column::side::right}, {"BACKENDS"}, {"DESCRIPTION"}});
  for (const json& one : *rows) {
    const bool sized = one.contains("size_bytes");
    out.add({field(one, "name"), field(one, "status"), field(one, "from"),
             sized ? human_bytes(one["size_bytes"].get<std::uint64_t>()) : "-",
             joined(one.value("backends", json::array())), field(one, "description")});
  }
  s.print(out.text(s.out_colors()));
  return 0;
}

void print_row(session& s, const json& row) {
  if (s.machine()) {
    s.print_document(row);
    return;
  }
  for (const char* name : {"name", "status", "from", "description", "digest", "files", "built_at"})
    if (field(row, name) != "-") s.print(std::string(name) + ": " + printable(field(row, name)) + "\n");
  if (row.contains("size_bytes")) s.print("size: " + human_bytes(row["size_bytes"].get<std::uint64_t>()) + "\n");
  if (row.value("verified", false)) s.print("verified: every byte is as its digest says\n");
  if (row.contains("build")) {
    s.print("build: " + printable(field(row["build"], "status")) + ", " + printable(field(row["build"], "step")) + "\n");
    if (row["build"].contains("error")) s.print("error: " + printable(field(row["build"]["error"], "message")) + "\n");
  }
  if (row.contains("recipe")) s.print("recipe:\n" + config::to_yaml(row["recipe"]));
}

result<int> show_template(session& s, const template_options& o) {
  auto client = s.connect();
  if (!client) return client.error();
  auto row = client->call("GET", template_path(o.name) + (o.verify ? "?verify=true" : ""), nullptr, 10min);
  if (!row) return row.error();
  print_row(s, *row);
  return 0;
}

result<json> read_recipe(const std::string& file) {
  auto text = config::read_config_file(file);
  if (!text) return text.error();
  auto document = config::parse_yaml(*text, file);
  if (!document) return document.error();
  return config::to_json(*document);
}

// A path in a recipe is one on the server; a relative one can only mean this folder, on the same machine.
result<json> build_body(const template_options& o) {
  json body = json::object(), recipe = json::object();
  if (!o.recipe.empty()) {
    auto read = read_recipe(o.recipe);
    if (!read) return read.error();
    recipe = std::move(*read);
  }
  if (!o.oci.empty()) recipe.update({{"from", "oci"}, {"path", o.oci}});
  if (!o.folder.empty()) recipe.update({{"from", "folder"}, {"path", o.folder}});
  if (!o.packages.empty()) {
    if (!recipe.contains("from")) recipe["from"] = "debian";
    recipe["packages"] = o.packages;
  }
  if (!o.image.empty()) recipe["image"] = o.image;
  if (recipe.is_object() && recipe.contains("path") && recipe["path"].is_string())
    recipe["path"] = std::filesystem::absolute(recipe["path"].get<std::string>()).lexically_normal().string();
  if (recipe.is_object() && !o.name.empty()) body["name"] = o.name;
  if (!recipe.empty()) body["recipe"] = std::move(recipe);
  if (o.fresh) body["fresh"] = true;
  return body;
}

result<int> build_template(session& s, const template_options& o) {
  auto body = build_body(o);
  if (!body) return body.error();
  auto client = s.connect();
  if (!client) return client.error();
  auto row = client->call("POST", "/v1/templates", std::move(*body), 1min);
  if (!row) return row.error();
  const std::string name = (*row)["name"].get<std::string>();
  std::string step;
  while (!o.no_wait && row->contains("build") && field((*row)["build"], "status") == "building") {
    if (const std::string now = field((*row)["build"], "step"); now != step && !s.flags().quiet && !s.machine())
      s.print((step = now) + "\n");
    std::this_thread::sleep_for(200ms);
    row = client->call("GET", template_path(name));
    if (!row) return row.error();
  }
  if (row->contains("build") && (*row)["build"].contains("error")) {
    const json& why = (*row)["build"]["error"];
    return fail(errc::unavailable, field(why, "reason"), field(why, "message"), field(why, "action"));
  }
  print_row(s, *row);
  return 0;
}

result<int> remove_template(session& s, const std::string& name) {
  auto client = s.connect();
  if (!client) return client.error();
  auto done = client->call("DELETE", template_path(name), nullptr, 2min);
  if (!done) return done.error();
  return 0;
}

}  // namespace

void add_template_commands(CLI::App& parent, const command_set& set) {
  auto o = std::make_shared<template_options>();
  auto* group = set.add_group(parent, "template", "Build, list, show and remove what sandboxes are made from");
  auto* list = set.add(*group, "list", help_of("template.list"), "  caged template list",
                       [](session& s) { return list_templates(s); });
  list->alias("ls");

  auto* build = set.add(*group, "build", help_of("template.build"),
                        "  caged template build python-311\n  caged template build mine --oci image.tar\n"
                        "  caged template build --recipe mine.yaml",
                        [o](session& s) { return build_template(s, *o); });
  build->add_option("NAME", o->name, "A shipped recipe, or the name of what is built");
  build->add_option("--recipe,-f", o->recipe, "A recipe (YAML)")->check(CLI::ExistingFile);
  build->add_option("--oci", o->oci, "An image's archive: docker save, skopeo copy … oci-archive:");
  build->add_option("--image", o->image, "Which image of the archive, by its tag");
  build->add_option("--folder", o->folder, "A folder with a whole root file system");
  build->add_option("--package", o->packages, "A Debian package; may be given several times");
  build->add_flag("--fresh", o->fresh, "Also when the same was built before");
  build->add_flag("--no-wait", o->no_wait, "Do not wait for the end of the build");

  auto* show = set.add(*group, "show", help_of("template.show"), "  caged template show python-311 --verify",
                       [o](session& s) { return show_template(s, *o); });
  show->add_option("NAME", o->name, "The template")->required();
  show->add_flag("--verify", o->verify, "Read every byte and compare with the digest");

  auto* remove = set.add(*group, "remove", help_of("template.remove"), "  caged template remove python-311",
                         [o](session& s) { return remove_template(s, o->name); });
  remove->alias("rm");
  remove->add_option("NAME", o->name, "The template")->required();
}

}  // namespace caged::cli
