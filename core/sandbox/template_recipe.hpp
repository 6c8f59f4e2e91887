// Recipes: what a template is built from, read from YAML or JSON and checked before anything is done.
#pragma once

#include <caged/json.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace caged::sandbox {

struct template_recipe {
  enum class source : std::uint8_t { unset = 0, debian, oci, folder };

  std::string name, description;
  source from = source::unset;
  std::string suite;                  // debian; empty: the machine's own
  std::vector<std::string> packages;  // debian, sorted, each once
  std::vector<std::string> npm;       // debian: packages of the npm registry, installed for everybody
  std::filesystem::path path;         // oci, folder: absolute, on the host
  std::string image;                  // oci: which of several in the archive
  std::int64_t epoch = 0;             // no file is younger (SOURCE_DATE_EPOCH)
  bool derived = false;               // made of another one for a sandbox's `packages`
};

// Errors are invalid_argument with the place in the document.
result<template_recipe> parse_recipe(const json& document);
json to_json(const template_recipe& recipe);

// Those that come with Caged, by name: `minimal`, `python-311` …
result<std::vector<template_recipe>> shipped_recipes();

// The same with more packages. unsupported where its source cannot take any.
result<template_recipe> with_packages(const template_recipe& base, const std::vector<std::string>& packages);

}  // namespace caged::sandbox
