// The base of every plugin kind and the lifecycle the host drives it through.
#pragma once

#include <caged/host.hpp>
#include <caged/task.hpp>
#include <string_view>

namespace caged {

// found → admitted → mapped → configured → open → serving → drain → close. Each step has a deadline; a step that
// fails, throws or runs late is named in the host's error and leaves the host as it was. Methods are called on the
// host's executor, never two at a time.
class plugin {
 public:
  virtual ~plugin();

  // Acquire what is needed: files, sockets, services of the host. Nothing before open() may have effects outside.
  virtual task<void> open();
  // All plugins are open; begin to take work.
  virtual task<void> serve();
  // Take no new work, finish what runs. Cancelled at its deadline.
  virtual task<void> drain();
  // Release everything. Called also after a failed open().
  virtual task<void> close();

  // An optional interface of this plugin, by name; nullptr when it has none. New abilities come in this way, never as
  // a new virtual in the middle of an interface.
  virtual void* find_extension(std::string_view name) noexcept;

  template <class Interface>
  Interface* extension() noexcept {
    return static_cast<Interface*>(find_extension(Interface::interface_name));
  }
};

// Kind "transport": a way in (REST, MCP, E2B, previews). It finds operations and http::front among the host's services
// and registers itself in open() and serve().
class transport : public plugin {
 public:
  static constexpr std::string_view interface_name = "caged.transport.v1";
};

// Kind "tool": adds operations of its own in open() (operations::add).
class tool : public plugin {
 public:
  static constexpr std::string_view interface_name = "caged.tool.v1";
};

}  // namespace caged
