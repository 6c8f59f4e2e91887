// Loads plugins and drives them through their lives; every refusal names the plugin, the step and what to do.
#pragma once

#include <caged_plugin.h>

#include <boost/asio/any_io_executor.hpp>
#include <caged/host.hpp>
#include <caged/plugin.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace caged::plugins {

// Where a plugin stands in its life. `refused` is the end of one that failed a step.
enum class stage : std::uint8_t {
  unset = 0,
  found,
  admitted,
  mapped,
  configured,
  open,
  serving,
  drained,
  closed,
  refused
};
std::string_view to_string(stage s) noexcept;

// The longest each step may take before the host takes the plugin out.
struct deadlines {
  std::chrono::milliseconds create{10'000};
  std::chrono::milliseconds open{30'000};
  std::chrono::milliseconds serve{10'000};
  std::chrono::milliseconds drain{30'000};
  std::chrono::milliseconds close{10'000};
  std::chrono::milliseconds grace{1'000};  // for a cancelled step to end
};

// What `caged plugins` and `caged plugins schema` show.
struct plugin_status {
  std::string kind;
  std::string name;
  std::string version;
  std::string summary;
  std::filesystem::path path;  // "" for an adopted one
  stage at = stage::unset;
  std::vector<std::string> offers;  // "snapshot", "fork" …
  std::vector<std::string> needs;   // "operations", "http_front" …
  std::string fingerprint;
  std::uint32_t event_schema = 0;
  json config_schema;
  std::optional<error> failure;  // why it was refused
};
// As a JSON document, for `--json` and operations.
json to_json(const plugin_status& s);

struct host_options {
  boost::asio::any_io_executor executor;  // runs elsewhere: on a thread that is not the one that calls plugin_host
  boost::asio::any_io_executor blocking_executor;
  std::filesystem::path data_dir;     // each plugin gets data_dir/plugins/<kind>.<name>, mode 0700
  std::filesystem::path program_dir;
  // Thread-safe; the channel is "vmm.jail". Control characters are already escaped. May be empty.
  std::function<void(log_level, std::string_view channel, std::string_view message)> log;
  deadlines limits;
};

// The registry of plugins. Threading: load(), adopt(), the …_all() and the destructor are called by one thread that
// does not run `executor`, and block it until the step is done or its deadline has passed. add_service(), list(),
// find(), find_service() may be called from any thread. The executor must run until close_all() has returned.
//
// What went wrong stays contained: a plugin that fails, throws or runs late in a step is closed, taken out and listed
// as refused. One that cannot be stopped (it blocks a thread, or ignores cancellation) is abandoned: never called,
// never destroyed, its memory kept. Mapped files are never unmapped.
class plugin_host {
 public:
  explicit plugin_host(host_options options);
  ~plugin_host();  // close_all()
  plugin_host(const plugin_host&) = delete;
  plugin_host& operator=(const plugin_host&) = delete;

  // A service plugins find by its interface_name. Must outlive the plugins. Later ones of the same name win.
  void add_service(std::string name, void* service);
  template <class Interface>
  void add_service(Interface* service) {
    add_service(std::string(Interface::interface_name), static_cast<void*>(service));
  }

  // Plugin files (caged-*.so) of a folder in name order. The folder is held to the same rule as a plugin file.
  result<std::vector<std::filesystem::path>> discover(const std::filesystem::path& folder) const;
  // Maps the file and checks its descriptor; makes nothing. For `caged plugins` and to learn kind and name.
  result<plugin_status> inspect(const std::filesystem::path& file) const;

  // found → configured. `config` is the object below plugins.<kind>.<name> without `enabled` and `path`; null is {}.
  // Defaults of the schema are filled in. An error's path is a pointer into the configuration, "/plugins/vmm/jail/x".
  result<void> load(const std::filesystem::path& file, json config);
  // The same for a descriptor that is linked into the program.
  result<void> adopt(const caged_plugin_descriptor& descriptor, json config);

  // Each takes every plugin one step on, storage before vmm before tool before transport (drain and close: the other
  // way round). A failing plugin does not stop the others; the error is the first, with the others counted.
  result<void> open_all();
  result<void> serve_all();
  result<void> drain_all();
  result<void> close_all();  // also what never opened; idempotent

  // In load order, refused ones last.
  std::vector<plugin_status> list() const;

  // A host service, or the interface or extension of an open plugin; nullptr when there is none. "caged.vmm.v1" is the
  // first vmm plugin, "caged.vmm.v1/jail" the one of that name.
  void* find_service(std::string_view name) const noexcept;
  template <class Interface>
  Interface* find(std::string_view plugin_name = {}) const noexcept {
    std::string key(Interface::interface_name);
    if (!plugin_name.empty()) key.append("/").append(plugin_name);
    return static_cast<Interface*>(find_service(key));
  }

 private:
  class registry;
  std::shared_ptr<registry> registry_;
};

}  // namespace caged::plugins
