// caged operations: what the API offers, from the registry, without a server.
#include <caged/json_schema.hpp>
#include <core/cli/commands.hpp>
#include <core/cli/operation_help.hpp>
#include <core/cli/render.hpp>

namespace caged::cli {
namespace {

json to_json(const operation_help& o) {
  json fields = json::object(), examples = json::array();
  for (const auto& f : o.fields) fields[std::string(f.name)] = std::string(f.text);
  for (const auto& e : o.examples)
    examples.push_back({{"summary", std::string(e.name)}, {"input", json::parse(e.text)}});
  return {
      {"name", std::string(o.name)},   {"summary", std::string(o.summary)}, {"description", std::string(o.description)},
      {"route", std::string(o.route)}, {"scope", std::string(o.scope)},     {"fields", fields},
      {"examples", examples}};
}

std::string page(const operation_help& o) {
  std::string text = std::string(o.name) + ": " + std::string(o.summary) + "\n";
  if (o.description != o.summary) text += "\n" + std::string(o.description) + "\n";
  text += "\n  " + std::string(o.route) + "\n  needs a key of scope " + std::string(o.scope) + "\n";
  if (!o.fields.empty()) text += "\nFields:\n";
  for (const auto& f : o.fields) text += "  " + std::string(f.name) + ": " + std::string(f.text) + "\n";
  if (!o.examples.empty()) text += "\nExamples:\n";
  for (const auto& e : o.examples) text += "  " + std::string(e.name) + "\n    " + std::string(e.text) + "\n";
  return text;
}

result<int> show_one(session& s, const std::string& name) {
  const auto* found = find_operation(name);
  if (!found) {
    std::vector<std::string> names;
    for (const auto& o : operation_catalogue()) names.emplace_back(o.name);
    const std::string near = nearest(name, names);
    return fail(errc::not_found, "unknown_operation",
                "there is no operation '" + name + "'" + (near.empty() ? "" : "; did you mean '" + near + "'?"),
                "'caged operations' lists them; those that plugins add are in the server's /openapi.json.");
  }
  if (s.machine()) {
    s.print_document(to_json(*found));
  } else {
    s.print(page(*found));
  }
  return 0;
}

result<int> show_all(session& s) {
  if (s.machine()) {
    json all = json::array();
    for (const auto& o : operation_catalogue()) all.push_back(to_json(o));
    s.print_document(all);
    return 0;
  }
  table shown({{"OPERATION"}, {"SCOPE"}, {"ROUTE"}, {"WHAT IT DOES"}});
  for (const auto& o : operation_catalogue())
    shown.add({std::string(o.name), std::string(o.scope), std::string(o.route), std::string(o.summary)});
  s.print(shown.text(s.out_colors()));
  return 0;
}

}  // namespace

void add_operation_commands(CLI::App& root, const command_set& set) {
  auto name = std::make_shared<std::string>();
  set.add(root, "operations", "List what the API offers, or explain one operation",
          "  caged operations\n  caged operations sandbox.exec\n  caged operations --json",
          [name](session& s) { return name->empty() ? show_all(s) : show_one(s, *name); })
      ->add_option("NAME", *name, "The operation, as in sandbox.exec");
}

}  // namespace caged::cli
