// What a plugin says about itself, read from its descriptor and checked before any of its C++ runs.
#pragma once

#include <caged/json_schema.hpp>

#include "core/plugin/plugin_host.hpp"

namespace caged::plugins {

struct kind_row {
  std::string_view name;
  std::string_view interface_name;
  int order;  // kinds open in this order
};
// nullptr when the host does not know the kind.
const kind_row* find_kind(std::string_view name) noexcept;

struct need_row {
  std::uint64_t bit;
  std::string_view name;
  std::string_view service;
};
// The services behind the bits of `needs` that are set.
std::vector<need_row> needed_services(std::uint64_t needs);

// A descriptor that passed every check.
struct manifest {
  const caged_plugin_descriptor* descriptor = nullptr;
  const kind_row* kind = nullptr;
  plugin_status status;  // everything but path, stage and failure
  json_schema config;
  std::string id() const { return status.kind + "." + status.name; }
};

// `origin` names the plugin in errors: its file, or "the built-in plugin".
result<manifest> read_manifest(const caged_plugin_descriptor& descriptor, const std::string& origin);

}  // namespace caged::plugins
