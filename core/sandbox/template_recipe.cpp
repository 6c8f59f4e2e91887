#include "core/sandbox/template_recipe.hpp"

#include <algorithm>
#include <caged/random.hpp>
#include <cstdlib>

#include "core/config/yaml.hpp"

namespace caged::sandbox {
namespace {

constexpr std::int64_t usual_epoch = 1767225600;  // 2026-01-01: younger than the packages, older than the builds

constexpr const char* shipped = R"yaml(
- name: minimal
  description: A small Debian with a shell, git, curl and certificates
  from: debian
  packages: [bash, ca-certificates, curl, git, procps]
- name: python-311
  description: Python 3.11 with pip and venv
  from: debian
  packages: [bash, ca-certificates, curl, git, procps, python3-pip, python3.11, python3.11-venv]
- name: python-312
  description: Python 3.12 with venv; needs package sources that have it
  from: debian
  packages: [bash, ca-certificates, curl, git, procps, python3.12, python3.12-venv]
- name: node-20
  description: Node.js 20 with npm
  from: debian
  packages: [bash, ca-certificates, curl, git, libstdc++6, procps]
  npm: ["node-linux-{npm-arch}@20", "npm@10"]
- name: node-22
  description: Node.js 22 with npm
  from: debian
  packages: [bash, ca-certificates, curl, git, libstdc++6, procps]
  npm: ["node-linux-{npm-arch}@22", "npm@10"]
- name: go
  description: The Go of the machine's package sources
  from: debian
  packages: [bash, ca-certificates, curl, gcc, git, golang-go, libc6-dev, procps]
)yaml";

error refuse(std::string path, std::string message, std::string action) {
  return fail(errc::invalid_argument, "invalid_recipe", std::move(message), std::move(action), std::move(path));
}

bool only(const std::string& text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string::npos;
}
constexpr std::string_view small = "abcdefghijklmnopqrstuvwxyz0123456789";

bool usable_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && small.find(name[0]) != std::string_view::npos &&
         only(name, std::string(small) + "-._+");
}

// A word that a package manager cannot take for an option, a path or a list.
bool usable_package(const std::string& word, std::string_view more) {
  return !word.empty() && word.size() <= 128 && word[0] != '-' && word[0] != '.' && word[0] != '/' &&
         word.find("..") == std::string::npos && only(word, std::string(small) + "+-.=:~ABCDEFGHIJKLMNOPQRSTUVWXYZ" + std::string(more));
}

result<std::string> text_at(const json& d, const char* key) {
  const auto it = d.find(key);
  if (it == d.end() || it->is_null()) return std::string();
  if (!it->is_string())
    return refuse(std::string("/") + key, std::string(key) + " is " + it->type_name() + ", expected text",
                  "Correct it.");
  return it->get<std::string>();
}

result<std::vector<std::string>> words_at(const json& d, const char* key, std::string_view more) {
  std::vector<std::string> out;
  const auto it = d.find(key);
  if (it == d.end() || it->is_null()) return out;
  if (!it->is_array())
    return refuse(std::string("/") + key, std::string(key) + " is " + it->type_name() + ", expected a list",
                  "Write it as a list.");
  for (std::size_t i = 0; i < it->size(); ++i) {
    const json& word = (*it)[i];
    const std::string place = std::string("/") + key + "/" + std::to_string(i);
    if (!word.is_string() || !usable_package(word.get<std::string>(), more))
      return refuse(place, "\"" + to_text(word) + "\" is no name of a package", "Use names such as curl or curl=7.88.1.");
    out.push_back(word.get<std::string>());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::string_view source_name(template_recipe::source s) {
  switch (s) {
    case template_recipe::source::debian:
      return "debian";
    case template_recipe::source::oci:
      return "oci";
    case template_recipe::source::folder:
      return "folder";
    case template_recipe::source::unset:
      break;
  }
  return "";
}

result<void> read_source(const json& d, template_recipe& r) {
  auto from = text_at(d, "from");
  if (!from) return from.error();
  using source = template_recipe::source;
  for (auto s : {source::debian, source::oci, source::folder})
    if (*from == source_name(s)) r.from = s;
  if (r.from == source::unset)
    return refuse("/from", "from is \"" + *from + "\", expected debian, oci or folder", "Say what it is built from.");
  const bool of_path = r.from != source::debian;
  if (of_path && (!r.path.is_absolute() || r.path.string().find('\0') != std::string::npos))
    return refuse("/path", "path is \"" + r.path.string() + "\", expected an absolute path on the server",
                  "Name the archive or the folder.");
  if (!of_path && !r.path.empty())
    return refuse("/path", "path is given, and from: debian reads none", "Leave one of them out.");
  if (of_path && !(r.packages.empty() && r.npm.empty() && r.suite.empty()))
    return refuse("/packages", "packages, npm and suite are for from: debian only", "Leave them out.");
  if (r.from != source::oci && !r.image.empty())
    return refuse("/image", "image is for from: oci only", "Leave it out.");
  return {};
}

}  // namespace

result<template_recipe> parse_recipe(const json& d) {
  if (!d.is_object()) return refuse("", "the recipe is no mapping", "Write keys such as name and from.");
  constexpr const char* keys[] = {"name", "description", "from", "suite", "packages", "npm", "path", "image",
                                  "source_date_epoch", "derived"};
  for (const auto& [key, value] : d.items())
    if (std::none_of(std::begin(keys), std::end(keys), [&key = key](const char* k) { return key == k; }))
      return refuse("/" + key, "a recipe has no key \"" + key + "\"",
                    "Use name, description, from, suite, packages, npm, path, image, source_date_epoch.");
  template_recipe r;
  const std::pair<const char*, std::string*> texts[] = {
      {"name", &r.name}, {"description", &r.description}, {"suite", &r.suite}, {"image", &r.image}};
  for (const auto& [key, slot] : texts) {
    auto text = text_at(d, key);
    if (!text) return text.error();
    *slot = std::move(*text);
  }
  auto path = text_at(d, "path");
  if (!path) return path.error();
  r.path = std::filesystem::path(*path).lexically_normal();
  auto packages = words_at(d, "packages", "");
  if (!packages) return packages.error();
  r.packages = std::move(*packages);
  auto npm = words_at(d, "npm", "@/^{}");
  if (!npm) return npm.error();
  r.npm = std::move(*npm);
  if (!usable_name(r.name))
    return refuse("/name", "\"" + r.name + "\" is no name of a template",
                  "Use 1 to 64 small letters, digits, dots, dashes; a letter or digit first.");
  if (r.name == "host") return refuse("/name", "the template host is always there", "Choose another name.");
  if (!only(r.suite, small)) return refuse("/suite", "\"" + r.suite + "\" is no suite", "Use a name such as bookworm.");
  const json epoch = d.value("source_date_epoch", json(nullptr));
  if (!epoch.is_null() && (!epoch.is_number_integer() || epoch.get<std::int64_t>() <= 0))
    return refuse("/source_date_epoch", "source_date_epoch is no positive number", "Give seconds since 1970.");
  r.epoch = epoch.is_null() ? usual_epoch : epoch.get<std::int64_t>();
  if (const char* set = std::getenv("SOURCE_DATE_EPOCH"); set != nullptr && epoch.is_null() && std::atoll(set) > 0)
    r.epoch = std::atoll(set);
  r.derived = d.value("derived", json(false)) == json(true);
  if (auto ok = read_source(d, r); !ok) return ok.error();
  return r;
}

json to_json(const template_recipe& r) {
  json d{{"name", r.name}, {"from", source_name(r.from)}, {"source_date_epoch", r.epoch}};
  if (!r.description.empty()) d["description"] = r.description;
  if (!r.suite.empty()) d["suite"] = r.suite;
  if (!r.packages.empty()) d["packages"] = r.packages;
  if (!r.npm.empty()) d["npm"] = r.npm;
  if (!r.path.empty()) d["path"] = r.path.string();
  if (!r.image.empty()) d["image"] = r.image;
  if (r.derived) d["derived"] = true;
  return d;
}

result<std::vector<template_recipe>> shipped_recipes() {
  auto document = config::parse_yaml(shipped, "recipes");
  if (!document) return document.error();
  std::vector<template_recipe> out;
  for (const json& one : config::to_json(*document)) {
    auto recipe = parse_recipe(one);
    if (!recipe) return recipe.error();
    out.push_back(std::move(*recipe));
  }
  return out;
}

result<template_recipe> with_packages(const template_recipe& base, const std::vector<std::string>& packages) {
  template_recipe r = base;
  r.packages.insert(r.packages.end(), packages.begin(), packages.end());
  std::sort(r.packages.begin(), r.packages.end());
  r.packages.erase(std::unique(r.packages.begin(), r.packages.end()), r.packages.end());
  if (r.packages == base.packages) return r;
  if (base.from != template_recipe::source::debian)
    return fail(errc::unsupported, "software_missing",
                "template \"" + base.name + "\" is built from an " + std::string(source_name(base.from)) +
                    ", to which no packages can be added",
                "Put them into what it is built from, or use a template that is built from Debian packages.",
                "/packages");
  std::string text;
  for (const auto& p : r.packages) text += p + "\n";
  r.name = base.name.substr(0, 48) + "+" + sha256_hex(text).substr(0, 12);
  r.description = base.name + " with more packages";
  r.derived = true;
  json again = to_json(r);
  return parse_recipe(again);  // the words come from a request
}

}  // namespace caged::sandbox
