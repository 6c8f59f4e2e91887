// One plugin in the host: its manifest, the object it made and the face the host shows to it.
#pragma once

#include <atomic>
#include <mutex>

#include "core/plugin/manifest.hpp"
#include "core/plugin/step.hpp"

namespace caged::plugins {

// What an instance needs of the registry.
class service_finder {
 public:
  virtual ~service_finder() = default;
  virtual void* find(std::string_view name) const noexcept = 0;
};

// Driven by one thread (that of plugin_host); at() and interface() may be asked from any.
class instance : public std::enable_shared_from_this<instance> {
 public:
  instance(manifest m, std::filesystem::path file, const host_options& options,
           std::weak_ptr<const service_finder> finder);
  ~instance();

  // mapped → configured. Leaves nothing behind when it fails.
  result<void> create(json config);
  // configured → open and so on. A failure ends in close() and stage refused.
  result<void> open();
  result<void> serve();
  result<void> drain();
  // → closed, object destroyed. Does nothing the second time.
  result<void> close();

  stage at() const noexcept { return at_.load(); }
  plugin_status status() const;
  std::string id() const { return manifest_.id(); }
  const std::string& name() const { return manifest_.status.name; }
  const kind_row& kind() const { return *manifest_.kind; }
  // The object's interface or extension; nullptr unless open or serving.
  void* interface(std::string_view name) const noexcept;

 private:
  class face;
  result<void> step(const char* name, std::chrono::milliseconds deadline, task<void> (plugin::*member)());
  result<void> advance(const char* name, std::chrono::milliseconds deadline, task<void> (plugin::*member)(),
                       stage next);
  result<void> release();  // destroys the object on the executor
  void abandon();
  error refuse(error e);
  result<std::string> fitted(json config) const;
  result<void> make_folder();

  manifest manifest_;
  std::filesystem::path file_;
  const host_options& options_;
  std::shared_ptr<face> face_;
  std::atomic<void*> object_{nullptr};
  bool opened_ = false;  // open() was called: close() is due
  bool made_folder_ = false;
  std::atomic<stage> at_{stage::mapped};
  mutable std::mutex failure_mutex_;
  std::optional<error> failure_;
};

}  // namespace caged::plugins
