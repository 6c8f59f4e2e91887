// Templates as the rest of the host sees them: built in the background, offered to backends, ready for a sandbox.
#pragma once

#include <caged/operation.hpp>
#include <caged/vmm.hpp>
#include <map>
#include <memory>

#include "core/runtime/async_mutex.hpp"
#include "core/runtime/scope.hpp"
#include "core/sandbox/template_store.hpp"

namespace caged::sandbox {

// All methods on the loop thread.
class templates {
 public:
  struct parts {
    asio::any_io_executor executor, blocking;
    std::filesystem::path folder;
    std::map<std::string, vmm_backend*> backends;
    std::function<void(log_level, std::string)> log;
  };
  explicit templates(parts p);

  task<void> start();
  asio::awaitable<void> stop();

  // Rows of `caged template list`: built, being built, failed, and shipped but not built.
  json rows() const;
  result<json> row(const std::string& name) const;
  // Names a sandbox may be made of on a backend that takes templates.
  std::vector<std::string> names() const;
  // The recipe that a name has: of a built one, else a shipped one.
  result<template_recipe> recipe_of(const std::string& name) const;

  // Begins a build and answers its row; conflict while the same name is being built.
  result<json> begin(template_recipe recipe, template_store::rebuild when);
  // What a sandbox of `name` with these packages is to be made of: builds it where it is missing, and looks whether its
  // files are what they were. `tell` hears the steps of a build. Packages run scripts on the host when they are
  // installed: only for `full` is anything built (permission_denied, reason "template_not_built").
  task<std::string> ready(std::string name, std::vector<std::string> packages, scope granted,
                          std::function<void(std::string)> tell);
  std::string digest_of(const std::string& name) const;
  std::map<std::string, std::string> environment_of(const std::string& name) const;
  // Reads every byte.
  task<void> verify(std::string name);
  // The caller has made sure that no sandbox needs it.
  task<void> remove(std::string name);
  // Removes files that nobody uses; only while no sandbox is being made.
  task<void> sweep();

 private:
  struct build_state {
    std::string status = "building", step = "waiting";
    std::int64_t began_us = 0;
    std::optional<error> failure;
    json recipe;
  };
  task<built_template> build(template_recipe recipe, template_store::rebuild when,
                             std::function<void(std::string)> tell);
  asio::awaitable<void> build_behind(template_recipe recipe, template_store::rebuild when,
                                     std::shared_ptr<build_state> state);
  task<void> offer();

  parts parts_;
  std::shared_ptr<template_store> store_;  // shared with work on the pool
  std::vector<template_recipe> shipped_;
  runtime::scope work_;
  runtime::async_mutex building_;  // one at a time: each takes a processor and the disk
  std::map<std::string, std::shared_ptr<build_state>> states_;  // under way, or failed
};

}  // namespace caged::sandbox
