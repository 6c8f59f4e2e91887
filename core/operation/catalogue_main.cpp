// Writes what the registry says of each operation as C++ data for the command line's help: run while building.
//   caged-operation-catalogue OUTPUT.cpp
#include <fstream>
#include <iostream>

#include "core/operation/families.hpp"

namespace {

// A raw string cannot hold its own end mark; the texts of a registry have no reason to.
std::string quoted(const std::string& text) { return "R\"~~(" + text + ")~~\""; }

void write_fields(std::ostream& out, const std::string& variable, const caged::json& input) {
  out << "constexpr operation_field " << variable << "[] = {\n";
  const caged::json properties = input.value("properties", caged::json::object());
  for (const auto& [name, schema] : properties.items())
    out << "  {" << quoted(name) << ", " << quoted(schema.value("description", "")) << "},\n";
  out << "  {{}, {}}};\n";
}

void write_examples(std::ostream& out, const std::string& variable, const caged::operation_info& info) {
  out << "constexpr operation_field " << variable << "[] = {\n";
  for (const auto& example : info.examples)
    out << "  {" << quoted(example.summary) << ", " << quoted(example.input.dump()) << "},\n";
  out << "  {{}, {}}};\n";
}

void write_catalogue(std::ostream& out, const caged::operation::registry& operations) {
  out << "// Made from the operation registry while building.\n#include <core/cli/operation_help.hpp>\n\n"
         "namespace caged::cli {\nnamespace {\n";
  const auto all = operations.list();
  for (std::size_t i = 0; i < all.size(); ++i) {
    write_fields(out, "fields_" + std::to_string(i), all[i]->input);
    write_examples(out, "examples_" + std::to_string(i), *all[i]);
  }
  out << "constexpr operation_help all[] = {\n";
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& info = *all[i];
    const auto fields = std::to_string(info.input.value("properties", caged::json::object()).size());
    const auto n = std::to_string(i);
    out << "  {" << quoted(info.name) << ", " << quoted(info.summary) << ", " << quoted(info.description) << ", "
        << quoted(info.method + " " + info.path) << ", " << quoted(std::string(to_string(info.needs))) << ", {fields_"
        << n << ", " << fields << "}, {examples_" << n << ", " << info.examples.size() << "}},\n";
  }
  out << "};\n}  // namespace\n\nstd::span<const operation_help> operation_catalogue() { return all; }\n\n"
         "}  // namespace caged::cli\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: caged-operation-catalogue OUTPUT.cpp\n";
    return 2;
  }
  caged::operation::registry operations;
  const caged::config::host_config config;
  caged::operation::services services;
  services.operations = &operations;
  services.config = &config;
  caged::operation::add_all_operations(services);
  std::ofstream out(argv[1]);
  write_catalogue(out, operations);
  out.close();
  return out ? 0 : 1;
}
