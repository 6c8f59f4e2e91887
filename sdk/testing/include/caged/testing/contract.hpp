// Contract suites: what a plugin of a kind promises, as checks that run against any plugin of that kind.
#pragma once

#include <caged_plugin.h>

#include <caged/plugin.hpp>
#include <caged/testing/fakes.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace caged::testing {

struct contract_options {
  json config;                     // the plugin's configuration; null = {}
  std::optional<json> bad_config;  // one that it must refuse
  std::string filter;              // only checks whose "kind: name" contains this
  std::chrono::milliseconds deadline{10'000};
};

enum class verdict : std::uint8_t { unset = 0, passed, failed, skipped };

struct check_result {
  std::string suite;
  std::string name;
  verdict how = verdict::unset;
  std::string detail;
};

struct contract_report {
  std::string plugin;  // "tool.hello"
  std::vector<check_result> checks;
  bool passed() const;  // at least one check ran, and none failed
  std::string text() const;
};

// What a check works with: one plugin, open and serving unless the check says otherwise. Used by one thread.
class contract_context {
 public:
  ~contract_context();

  // The plugin's interface; ends the check when it has none.
  template <class Interface>
  Interface& interface() {
    void* found = find(Interface::interface_name);
    require(found != nullptr, "the plugin gives " + std::string(Interface::interface_name));
    return *static_cast<Interface*>(found);
  }
  fake_host& host();
  std::filesystem::path data_dir() const;
  const contract_options& options() const;
  const std::vector<std::string>& offers() const;  // "snapshot" …
  const std::string& summary() const;
  const json& config_schema() const;
  plugin& object();  // the plugin itself, whatever its kind
  std::chrono::milliseconds deadline() const { return options().deadline; }

  // Closes the plugin; opens a new one on the same data folder (for durability), or none.
  void close();
  void reopen();

  template <class T>
  result<T> await(task<T> work) {
    return host().run(std::move(work), deadline());
  }
  template <class T>
  T require_ok(result<T> answer, const std::string& what) {
    if (answer.has_error()) require(false, what + ": " + describe(answer.error()));
    if constexpr (!std::is_void_v<T>) return std::move(answer).value();
  }
  template <class T>
  void expect_error(const result<T>& answer, errc code, const std::string& what) {
    if (answer.has_value())
      expect(false, what + ": it succeeded, expected " + std::string(to_string(code)));
    else
      expect(answer.error().code == code, what + ": expected " + std::string(to_string(code)) + ", found " +
                                              std::string(to_string(answer.error().code)) + ": " +
                                              describe(answer.error()));
  }
  // Records a failure and goes on, or ends the check.
  void expect(bool holds, const std::string& what);
  void require(bool holds, const std::string& what);
  [[noreturn]] void skip(const std::string& why);

  // For the generic suite: the parts of a life one at a time, on a plugin that is not loaded yet.
  result<void> load(json config);
  result<void> step(std::string_view name);  // "open", "serve", "drain", "close"

 private:
  friend class runner;
  struct parts;
  explicit contract_context(std::unique_ptr<parts> p);
  void* find(std::string_view interface_name);
  std::unique_ptr<parts> parts_;
};

struct check {
  const char* name;
  void (*run)(contract_context&);
};

// Registers checks for a kind ("vmm"); make one at namespace scope in sdk/testing/<kind>_contract.cpp.
class suite {
 public:
  suite(const char* kind, std::vector<check> checks);
  // Checks that get a context on which nothing is loaded; kind "" = for every kind.
  enum class start : std::uint8_t { unset = 0, serving, unloaded };
  suite(const char* kind, start from, std::vector<check> checks);
};

// All checks that fit the plugin's kind. Blocks.
contract_report run_contract(const caged_plugin_descriptor& descriptor, const contract_options& options = {});
// The same for a file; an error when it cannot be loaded at all.
result<contract_report> run_contract(const std::filesystem::path& file, const contract_options& options = {});

}  // namespace caged::testing
