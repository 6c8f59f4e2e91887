// Policies written into a temporary folder for one test.
#pragma once

#include <gtest/gtest.h>

#include <core/policy/policy_engine.hpp>
#include <cstdlib>
#include <fstream>

namespace caged::policy {

class policy_folder {
 public:
  policy_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "caged-policy-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~policy_folder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, std::string_view text) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return file;
  }

  engine_options options(std::vector<std::string> files) const {
    engine_options out;
    out.roots = {path_};
    for (auto& file : files) out.policies.push_back({(path_ / file).string(), json::object(), ""});
    return out;
  }

 private:
  std::filesystem::path path_;
};

// A policy whose handlers have this body: of the gate `command`, and of the fact `error`.
inline std::string with_gate(std::string_view body, std::string_view before = "", std::string_view more = "") {
  return std::string(before) + "\nreturn { name = 'p', version = '1', requires_schema = 1, " + std::string(more) +
         " gate = { command = function(event, ctx) " + std::string(body) + "\nend } }";
}
inline std::string with_fact(std::string_view body, std::string_view name = "p") {
  return "return { name = '" + std::string(name) +
         "', version = '1', requires_schema = 1, on = { error = function(event, ctx) " + std::string(body) +
         "\nend } }";
}

inline event make_event(std::string type, json data = json::object(), std::string session = "s1") {
  event e;
  e.id = 1;
  e.type = std::move(type);
  e.session_id = std::move(session);
  e.time_us = 1'700'000'000'000'000;
  e.data = std::move(data);
  return e;
}

}  // namespace caged::policy
